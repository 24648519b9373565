"""Finding, reading, composing and writing the files that describe parts.

A name is looked up in a folder of the data root: `simulator/_data` in a wheel, the repository in
an editable install. A file may take another as `base:`, one level deep, and override its keys.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import AfterValidator, Discriminator, Tag, ValidationError

from simulator.config.part import FOLDER, UNITS_REQUIRED, Part
from simulator.config.problems import describe, did_you_mean, unknown
from simulator.config.yaml_reader import Document, Plain, read_yaml
from simulator.errors import InputError

PartT = TypeVar("PartT", bound=Part)

_SUFFIXES = (".yaml", ".yml")


def data_root() -> Path:
    """Return the folder that holds hw_configs, workloads and experiments."""
    package = Path(__file__).resolve().parents[1]
    packaged = package / "_data"
    root = packaged if packaged.is_dir() else package.parent
    if not (root / "hw_configs").is_dir():
        raise InputError(
            f"no data files: neither {packaged} nor {package.parent}/hw_configs is there"
        )
    return root


def names(folder: str) -> list[str]:
    """Return the names of the parts in `folder` of the data root, sorted."""
    return sorted(path.stem for path in (data_root() / folder).glob("*.yaml"))


def load_part(
    schema: type[PartT], name_or_path: str | Path, folder: str, *, noun: str = "part"
) -> PartT:
    """Load and check one part by name (in `folder` of the data root) or by path.

    Text without "/" and without a .yaml suffix is a name. Raises one `InputError` with a line for
    each problem of the file; an unknown name is answered with the nearest and all known ones.
    """
    path, label = _find(name_or_path, folder, noun)
    document = _with_base(read_yaml(path, label), path, folder)
    try:
        context = {**UNITS_REQUIRED, FOLDER: str(path.parent)}
        part = schema.model_validate_json(json.dumps(document.data), context=context)
    except ValidationError as error:
        problems = describe(error, schema, document.label)
        raise InputError([*document.problems, *problems]) from error
    if document.problems:
        raise InputError(document.problems)
    return part


def by_name(schema: type[PartT], load: Callable[[str], PartT]) -> Any:
    """Return the type of a part that is written out, or given by its name or file and loaded."""

    def loaded(given: str) -> PartT:
        try:
            return load(given)
        except InputError as error:
            raise ValueError(str(error)) from error

    def how_given(given: object) -> str:
        return "str" if isinstance(given, str) else schema.__name__

    return Annotated[
        Annotated[schema, Tag(schema.__name__)]
        | Annotated[str, AfterValidator(loaded), Tag("str")],
        Discriminator(how_given),
    ]


def replace(part: PartT, changes: Mapping[str, Any], *, root: str = "") -> PartT:
    """Return a checked copy with the values at dotted YAML paths changed.

    `replace(device, {"matrix.weight_buffers": 1, "memory.bandwidth": "1 TB/s"})`: a step is a key
    or the index of a list. A bare number for a quantity is in its base unit. Raises `InputError`,
    whose paths begin with `root`: where the part stands in what the user wrote.
    """
    data = resolved(part)
    problems = [
        f"{root}.{problem}" if root else problem
        for path, value in changes.items()
        if (problem := _set(data, path, value))
    ]
    if problems:
        raise InputError(problems)
    schema = type(part)
    try:
        return schema.model_validate_json(json.dumps(data, default=_plain))
    except ValidationError as error:
        raise InputError(describe(error, schema, root=root)) from error


def resolved(part: Part) -> dict[str, Any]:
    """Return every value of a part, defaults and bases included, as plain YAML with units."""
    return part.model_dump(mode="json", by_alias=True)


def value_at(part: Part, path: str) -> Any:
    """Return the resolved value at a dotted YAML path, None where there is nothing."""
    here: Any = resolved(part)
    for step in path.split("."):
        here = _child(here, step)
    return here


def dump_yaml(part: Part) -> str:
    """Write the resolved part as YAML; loading it gives an equal part."""
    return yaml.dump(resolved(part), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def content_hash(part: Part, path: str = "") -> str:
    """Return 16 hex digits that depend on all resolved values, at a path, and on nothing else."""
    value = value_at(part, path) if path else resolved(part)
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(canonical.encode(), digest_size=8).hexdigest()


class _Dumper(yaml.SafeDumper):
    """Writes equal lists twice instead of as anchor and alias, which the reader refuses."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True


def _find(name_or_path: str | Path, folder: str, noun: str) -> tuple[Path, str]:
    """Return the file and what messages call it."""
    text = str(name_or_path)
    if isinstance(name_or_path, Path) or "/" in text or text.endswith(_SUFFIXES):
        return Path(name_or_path), text
    known = names(folder)
    if text not in known:
        raise InputError(unknown(noun, text, known))
    return data_root() / folder / f"{text}.yaml", f"{folder}/{text}.yaml"


def _with_base(document: Document, path: Path, folder: str) -> Document:
    """Merge the document over the one that its `base:` names, if it has one."""
    if "base" not in document.data:
        return document
    own = dict(document.data)
    name = own.pop("base")
    if not isinstance(name, str) or not name:
        raise InputError(f"{document.label}: base: expected a name or a file, got {name!r}")
    base_path, base_label = _find_base(name, path, folder, document.label)
    base = read_yaml(base_path, base_label)
    if "base" in base.data:
        raise InputError(
            f"{document.label}: base: {name!r} has a base itself; one level is the limit"
        )
    return Document(document.label, _merged(base.data, own), [*document.problems, *base.problems])


def _find_base(name: str, path: Path, folder: str, label: str) -> tuple[Path, str]:
    """Find a base: a path from the file's folder, or a name there or in `folder`."""
    if "/" in name or name.endswith(_SUFFIXES):
        return path.parent / name, str(Path(label).parent / name)
    beside = path.parent / f"{name}.yaml"
    if beside.is_file() and beside.resolve() != path.resolve():
        return beside, str(Path(label).parent / beside.name)
    try:
        return _find(name, folder, "base")
    except InputError as error:
        raise InputError(f"{label}: base: {error}") from None


def _merged(base: Mapping[str, Plain], own: Mapping[str, Plain]) -> dict[str, Plain]:
    """Override mappings key by key; a sub-mapping of another `kind` replaces the whole."""
    merged = dict(base)
    for key, value in own.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict) and _same_kind(old, value):
            merged[key] = _merged(old, value)
        else:
            merged[key] = value
    return merged


def _same_kind(old: Mapping[str, Plain], new: Mapping[str, Plain]) -> bool:
    return "kind" not in new or old.get("kind") == new["kind"]


def _set(data: Any, path: str, value: Any) -> str | None:
    """Set one value in nested plain data; return the problem if the way does not exist."""
    *way, last = path.split(".")
    here = data
    for step in way:
        below = _child(here, step)
        if below is None:
            return f"{path}: nothing at {step!r}{_nearest(here, step)}"
        here = below
    if isinstance(here, dict):
        here[last] = value
    elif isinstance(here, list) and _child(here, last) is not None:
        here[int(last)] = value
    else:
        return f"{path}: nothing at {last!r}"
    return None


def _child(here: Any, step: str) -> Any:
    if isinstance(here, dict):
        return here.get(step)
    if isinstance(here, list) and step.isdecimal() and int(step) < len(here):
        return here[int(step)]
    return None


def _nearest(here: Any, step: str) -> str:
    # A key whose value is null is there.
    return did_you_mean(step, here) if isinstance(here, dict) and step not in here else ""


def _plain(value: object) -> Any:
    """Turn a part given as a value into plain data; for `json.dumps`."""
    if isinstance(value, Part):
        return resolved(value)
    raise InputError(f"expected plain values or parts, got {value!r}")
