"""Datapaths of a user's own: a Python file that a processing element names (`python: my_pe.py`).

The file is imported as any module is; YAML itself holds no code. A datapath NAME is two functions:

- `NAME(activations, weights, total, bits)`, the specification: one output's sum of products, added
  to `total`. It runs on plain numbers and on counting operands (`word`), does not branch on what
  they hold, and notes its passes with `word.note_passes`, if it makes more than one.
- `NAME_kernel(activations, weights, bits)`, all outputs: arrays (m, k) and (n, k) to (m, n).

bits: of activations and weights. Weights are integers in two's complement of 8 bits at most, or
ternary; activations integers of 8 bits at most, or FP16 (`numpy.float16`, `total` in float32, and
weights then without a zero point: it would have to be exact). `EXACT = ("NAME",)` lists those that
equal the exact integers; they are checked against them.

What follows the sum of a group, scales and zero points, is that of the datapaths that come with the
package. Outputs share nothing, an element does not multiply by scales. Of what the file imports in
turn, only the file itself is noticed when it changes.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from importlib.abc import SourceLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from traceback import extract_tb
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.config import Part, unknown
from simulator.errors import InputError
from simulator.formats import Format
from simulator.numerics.word import Real, Word, value_of

#: What the name of an array function adds to that of its specification.
KERNEL = "_kernel"
#: Between file and digest in the name of a datapath; no datapath of the package has it.
MARK = "#"


class Source(Part):
    """A Python file, from the working folder, and the digest of its content: 16 hex digits."""

    file: str
    digest: str

    @classmethod
    def of(cls, file: str) -> "Source":
        """Return the file as it is now; InputError where it cannot be read."""
        return cls(file=file, digest=_digest(_content(file)))

    def names(self) -> list[str]:
        """Return the datapaths that the file defines; InputError where it cannot be imported."""
        own = vars(_module(self.file, self.digest))
        return sorted(name for name in own if callable(own[name]) and f"{name}{KERNEL}" in own)

    def key(self, name: str) -> str:
        """Return the name by which numerics knows a datapath of the file, in every process."""
        return f"{self.file}{MARK}{self.digest}:{name}"


@dataclass(frozen=True)
class Arithmetic:
    """A datapath of a file: its two functions, and whether sums are those of exact integers."""

    file: str
    name: str
    specification: Callable[..., Any]
    kernel: Callable[..., Any]
    exact: bool

    def one(
        self, activations: Sequence[Any], weights: Sequence[Any], total: Any, bits: tuple[int, int]
    ) -> Any:
        """Return the specification of one output; InputError for whatever it raises."""
        return self._called(self.name, self.specification, activations, weights, total, bits)

    def plain(
        self, activations: Sequence[Any], weights: list[int], total: Any, bits: tuple[int, int]
    ) -> Any:
        """Return the specification of plain numbers, of the kind that `total` is of.

        Errors: InputError for another kind, and for integers that 64 bits do not hold.
        """
        found = self.one(activations, weights, total, bits)
        whole = isinstance(total, int)
        if not isinstance(found, int | np.integer if whole else float | np.floating):
            wanted, got = "an integer" if whole else "a float", type(found).__name__
            raise InputError(f"{self.file}: {self.name}: expected {wanted}, got {got}")
        if whole and not -(2**63) <= found < 2**63:
            raise InputError(f"{self.file}: {self.name}: the sum does not fit in 64 bits")
        return found

    def counted(
        self, activations: Sequence[Any], weights: Sequence[Any], total: Any, bits: tuple[int, int]
    ) -> None:
        """Run the specification on counting operands.

        Errors: InputError where the result does not count, or is not that of the same plain
        numbers.
        """
        operands = activations, weights, total
        found = self.one(*operands, bits)
        if not isinstance(found, Word | Real):
            raise InputError(
                f"{self.file}: {self.name}: counting operands in, {type(found).__name__} out: its "
                "operations cannot be counted"
            )
        plain = [value_of(each) for each in activations], [int(each) for each in weights]
        expected = self.plain(*plain, value_of(total), bits)
        if value_of(found) != expected:
            raise InputError(
                f"{self.file}: {self.name}: {value_of(found)} on counting operands, {expected} on "
                "the same plain numbers"
            )

    def all(
        self, activations: NDArray[Any], weights: NDArray[Any], bits: tuple[int, int]
    ) -> NDArray[Any]:
        """Return the kernel's outputs; InputError for whatever it raises, or no such array."""
        name, expected = f"{self.name}{KERNEL}", (len(activations), len(weights))
        found = self._called(name, self.kernel, activations, weights, bits)
        kinds = "f" if activations.dtype.kind == "f" else "iu"
        # No subclass: a matrix or a masked array goes by other rules.
        if type(found) is not np.ndarray or found.shape != expected:
            plain = type(found) is np.ndarray
            got = f"shape {found.shape}" if plain else type(found).__name__
            raise InputError(f"{self.file}: {name}: expected an array {expected}, got {got}")
        if found.dtype.kind not in kinds:
            wanted = "floats" if kinds == "f" else "integers"
            raise InputError(f"{self.file}: {name}: expected {wanted}, got {found.dtype}")
        return found

    def _called(self, name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise InputError(f"{self.file}: {name}: {_said(error, self.file)}") from error


def is_own(name: str) -> bool:
    """Tell whether a datapath is that of a file, by its name (`Source.key`)."""
    return MARK in name


@lru_cache(maxsize=256)
def arithmetic(key: str) -> Arithmetic:
    """Return a datapath by its key.

    Errors: InputError for a file that cannot be read or imported or that has changed, a function
    that it lacks, an unknown name in EXACT.
    """
    whole, _, name = key.rpartition(":")
    file, _, digest = whole.rpartition(MARK)
    own = vars(_module(file, digest))
    known = Source(file=file, digest=digest).names()
    exact = own.get("EXACT", ())
    if not isinstance(exact, tuple | list):
        raise InputError(f"{file}: EXACT: expected a tuple of names, got {exact!r}")
    for each in exact:
        if not isinstance(each, str):
            raise InputError(f"{file}: EXACT: expected names, got {type(each).__name__}")
        if each not in known:
            raise InputError(f"{file}: EXACT: {unknown('datapath', each, known)}")
    missing = [each for each in (name, f"{name}{KERNEL}") if not callable(own.get(each))]
    if len(missing) == 2:
        raise InputError(f"{file}: {unknown('datapath', name, known)}")
    if missing:
        raise InputError(f"{file}: datapath '{name}' lacks the function {missing[0]}")
    return Arithmetic(file, name, own[name], own[f"{name}{KERNEL}"], name in exact)


def pair_problem(weights: Format, activations: Format) -> str:
    """Return what is wrong with the elements of a pair for a datapath of a file, "" if nothing."""
    whole = weights.kind in ("int", "ternary") and weights.value_bits <= 8
    if whole and (
        activations.base == "fp16" or (activations.kind == "int" and activations.value_bits <= 8)
    ):
        return ""
    return (
        "a datapath of a file multiplies weights of int1 to int8 or ternary with activations of "
        f"int1 to int8 or fp16, got {weights.base} and {activations.base}"
    )


class _Given(SourceLoader):
    """Imports a file from its content as it was read: there is no bytecode of an earlier one."""

    def __init__(self, file: str, content: bytes) -> None:
        self.file, self.content = file, content

    def get_filename(self, _name: str) -> str:
        """Return the file, for messages."""
        return self.file

    def get_data(self, _path: str | bytes) -> bytes:
        """Return the content."""
        return self.content


def _content(file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(f"{file}: cannot be read: {reason}") from error


def _digest(content: bytes) -> str:
    return blake2b(content, digest_size=8).hexdigest()


@lru_cache(maxsize=64)
def _module(file: str, digest: str) -> ModuleType:
    """Import a file whose content has a digest, under a name of its own."""
    content = _content(file)
    if _digest(content) != digest:
        raise InputError(f"{file}: has changed since it was read: load the processing element anew")
    loader = _Given(file, content)
    spec = spec_from_loader(f"nibblesim_own_{digest}", loader)
    assert spec is not None
    module = module_from_spec(spec)
    # Dataclasses and pickles look their module up.
    sys.modules[spec.name] = module
    try:
        loader.exec_module(module)
    except BaseException as error:
        sys.modules.pop(spec.name, None)
        if isinstance(error, KeyboardInterrupt):
            raise
        raise InputError(f"{file}: cannot be imported: {_said(error, file)}") from error
    return module


def _said(error: BaseException, file: str) -> str:
    """Return what an error says, with the last line of the file that it went through."""
    lines = [frame.lineno for frame in extract_tb(error.__traceback__) if frame.filename == file]
    if isinstance(error, SyntaxError):
        # The text as a whole, as one with NUL bytes, is wrong in no line.
        lines, text = [error.lineno] if error.lineno else [], error.msg
    else:
        text = _words(error)
    where = f"line {lines[-1]}: " if lines else ""
    return f"{where}{type(error).__name__}{text and f': {text}'}"


def _words(error: BaseException) -> str:
    """Return what an error says; nothing where saying it fails, as the class is the user's."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - whatever its `__str__` raises
        return ""
