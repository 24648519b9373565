"""Does every number that ships in a YAML file say where it comes from?"""

import re
from pathlib import Path

import pytest
import yaml

from simulator.units import DIMENSIONS

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(
    path for folder in ("hw_configs", "workloads") for path in (ROOT / folder).rglob("*.yaml")
)
UNITS = {unit for dimension in DIMENSIONS.values() for unit in dimension.units}
QUANTITY = re.compile(r"[-+]?\d+(?:\.\d+)?\s*(\D+)")


def is_number(value: object) -> bool:
    """Tell whether a YAML value is a number, a quantity with a unit, or a list with one in it."""
    if isinstance(value, list):
        return any(is_number(item) for item in value)
    if isinstance(value, str):
        match = QUANTITY.fullmatch(value.strip())
        return match is not None and match.group(1) in UNITS
    return isinstance(value, int | float) and not isinstance(value, bool)


def unsourced(block: object, path: str = "top", enclosing: bool = False) -> list[str]:
    """Return the paths of mappings that hold a number without a source.

    The source stands in the mapping itself or in the one that encloses it; no further out.
    """
    if isinstance(block, list):
        items = [unsourced(item, f"{path}[{i}]", enclosing) for i, item in enumerate(block)]
        return [found for item in items for found in item]
    if not isinstance(block, dict):
        return []
    source = block.get("source")
    has_source = isinstance(source, str) and bool(source.strip())
    bare = any(is_number(value) for value in block.values()) and not (has_source or enclosing)
    below = [unsourced(value, f"{path}.{key}", has_source) for key, value in block.items()]
    return [path] * bare + [found for each in below for found in each]


def test_there_are_devices_profiles_and_models_to_look_at() -> None:
    folders = {path.parent.relative_to(ROOT).as_posix() for path in FILES}
    assert folders >= {"hw_configs/devices", "hw_configs/parts/technology", "workloads/models"}


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_number_has_a_source(file: Path) -> None:
    assert unsourced(yaml.safe_load(file.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("{a: 1, source: here}", []),
        ("{a: 1}", ["top"]),
        ("{a: 1, source: ' '}", ["top"]),
        ("{a: 1 GHz}", ["top"]),
        ("{a: [1, 2]}", ["top"]),
        ("{a: 45 nm of text, b: true, c: 3 GHz of text}", []),
        ("{source: here, b: {c: 1}}", []),
        ("{source: here, b: {c: {d: 1}}}", ["top.b.c"]),
        ("{source: here, b: {c: 2 MiB, source: ''}, d: {e: {f: 1, source: there}}}", []),
        ("{b: [{c: 1, source: here}, {c: 1}]}", ["top.b[1]"]),
        ("{b: {c: 20 MiB}, d: {e: 1.5}}", ["top.b", "top.d"]),
    ],
)
def test_a_planted_number_without_a_source_is_found(text: str, found: list[str]) -> None:
    assert unsourced(yaml.safe_load(text)) == found
