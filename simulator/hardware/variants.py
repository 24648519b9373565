"""Many designs that differ from one device in a few values, each part made once for all alike.

`config.replace` makes and checks a whole device, which takes longer than to plan one. Here a value
is checked by the part that it belongs to, once for all designs that have it, and what is read of
devices (a piece) is made once for all designs whose parts of it are alike.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from simulator.config import Hertz, Part, replace
from simulator.errors import InputError
from simulator.hardware.device import Device

Piece = TypeVar("Piece")

#: Parts of a device whose values may vary, and `clock`.
PARTS = ("clock", "matrix", "vector", "scratchpad", "memory", "dma")
#: Values in them that may not: designs that differ there differ by more than numbers.
FIXED = (
    "matrix.kind", "matrix.pe", "vector.gemv", "memory.kind", "memory.standard", "memory.mapping",
    "memory.page", "memory.refresh", "dma.word_bits", "dma.prefetch",
)  # fmt: skip


_CLOCK = TypeAdapter(Hertz)


def varied(part: Part, values: Mapping[str, Any]) -> Part:
    """Return a part with other values at its paths; errors of pydantic, or as `config.replace`."""
    names, own = _names(type(part)), vars(part)
    if not values.keys() <= names.keys():
        return replace(part, values)
    given = {name: own[name] for name in names.values()}
    for path, value in values.items():
        given[names[path]] = value
    return type(part).model_validate(given)


@lru_cache(maxsize=64)
def _names(schema: type[Part]) -> dict[str, str]:
    """Return the names of fields by what they are called in files."""
    return {field.alias or name: name for name, field in schema.model_fields.items()}


def may_vary(path: str) -> bool:
    """Tell whether designs that differ at a path of a device can be variants of one."""
    part, _, rest = path.partition(".")
    if part not in PARTS or bool(rest) == (part == "clock"):
        return False
    return not any(_is_at(path, fixed) for fixed in FIXED)


class Variants:
    """Designs that differ from a device by changes, one mapping of paths to values for each.

    refused: which of them a part refuses; `config.replace` says why.
    """

    def __init__(self, base: Device, changes: Sequence[Mapping[str, Any]]) -> None:
        """Make each part once for all designs with equal values in it; paths as `may_vary`."""
        self.count = len(changes)
        self.refused: NDArray[np.bool_] = np.zeros(self.count, dtype=np.bool_)
        self._base = base.model_copy()
        for derived in set(vars(self._base)) - set(Device.model_fields):
            # Copies would have what was derived from the base.
            del self._base.__dict__[derived]
        paths = dict.fromkeys(path for each in changes for path in each)
        #: By path, a number for each value: that of the first design that has it.
        self._values = {path: _numbered(path, changes) for path in paths}
        self._parts: dict[str, list[Any]] = {}
        for part in dict.fromkeys(map(_part_of, paths)):
            own = [path for path in paths if _part_of(path) == part]
            first, which = self._distinct(own)
            made = [self._made(part, _given(own, changes[design])) for design in first]
            self.refused |= np.array([each is None for each in made])[which]
            self._parts[part] = [made[place] for place in which]

    def device(self) -> Device:
        """Return a design that no part refuses; InputError where there is none."""
        fine = np.flatnonzero(~self.refused)
        if not len(fine):
            raise InputError("all designs are refused")
        return self._device(int(fine[0]))

    def pieces(
        self, paths: Sequence[str], make: Callable[[Device], Piece]
    ) -> tuple[list[Piece], NDArray[np.int64]]:
        """Return what is made of designs, and which is whose: `make` reads no more than `paths`.

        paths: or what they begin with. An InputError of `make` refuses a design; what is refused
        has another's piece.
        """
        own = [each for each in self._values if any(_is_at(each, path) for path in paths)]
        first, which = self._distinct(own)
        made: list[Piece] = []
        places = np.zeros(len(first), dtype=np.int64)
        for number, design in enumerate(first):
            if self.refused[design]:
                fine = np.flatnonzero((which == number) & ~self.refused)
                if not len(fine):
                    continue
                design = int(fine[0])
            try:
                piece = make(self._device(design))
            except InputError:
                self.refused |= which == number
                continue
            places[number] = len(made)
            made.append(piece)
        if not made:
            raise InputError("all designs are refused")
        return made, places[which]

    def _distinct(self, paths: Sequence[str]) -> tuple[list[int], NDArray[np.int64]]:
        """Return the first of the designs with equal values at paths, and which is whose."""
        if not paths:
            return [0], np.zeros(self.count, dtype=np.int64)
        table = np.stack([self._values[path] for path in paths])
        _, first, which = np.unique(table, axis=1, return_index=True, return_inverse=True)
        return first.tolist(), which.ravel()

    def _made(self, part: str, values: Mapping[str, Any]) -> Any:
        """Return a part with other values; None where it refuses them."""
        try:
            if part == "clock":
                given = values.get("clock", self._base.clock_hz)
                return _CLOCK.validate_python(given, strict=True)
            return varied(getattr(self._base, part), values)
        except (InputError, ValidationError):
            return None

    def _device(self, design: int) -> Device:
        update = {part: made[design] for part, made in self._parts.items()}
        if "clock" in update:
            update["clock_hz"] = update.pop("clock")
        return self._base.model_copy(update=update)


def _part_of(path: str) -> str:
    return path.partition(".")[0]


def _is_at(path: str, start: str) -> bool:
    return path == start or path.startswith(f"{start}.")


def _numbered(path: str, changes: Sequence[Mapping[str, Any]]) -> NDArray[np.int64]:
    """Return a number for each value at a path; what is absent is a value too."""
    known: dict[Any, int] = {}
    # True, 1 and 1.0 are equal keys, and not the same values.
    keys = ((type(each[path]), each[path]) if path in each else None for each in changes)
    return np.array([known.setdefault(key, len(known)) for key in keys], dtype=np.int64)


def _given(paths: Sequence[str], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values at those of some paths of a part that are changed, by their paths in it."""
    return {path.partition(".")[2] or path: changes[path] for path in paths if path in changes}
