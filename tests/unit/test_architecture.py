"""The order of the rooms: imports point one way, and heavy libraries wait until they are used."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "simulator"

#: Each room may import what stands in earlier steps; rooms of one step do not import each other.
STEPS = (
    {"errors", "units", "clock", "kernels"},
    {"config"},
    {"formats"},
    {"numerics", "workload", "cost", "dram"},
    {"hardware"},
    {"mapping"},
    {"results"},
    {"engine"},
    {"serving"},
    {"search", "report"},
    {"api"},
    {"design", "study"},
    {"compare"},
    {"explain"},
    {""},  # the package itself: the names that users import
    {"cli"},
    {"__main__"},
)
STEP_OF = {room: step for step, rooms in enumerate(STEPS) for room in rooms}
HEAVY = (
    *("numba", "scipy", "matplotlib", "pyarrow", "pandas", "networkx", "simpy", "typer", "tqdm"),
    *("safetensors", "optuna", "cmaes", "moocore", "distributed"),
)
FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(module: str) -> str:
    """Return the room of a dotted name of ours; "" for the package itself and what it exports."""
    room = [*module.split("."), ""][1]
    return room if (PACKAGE / room).is_dir() or (PACKAGE / f"{room}.py").is_file() else ""


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and module of each import of ours, wherever in the file it stands."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, each.name) for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            if node.module == "simulator":
                yield from ((node.lineno, f"simulator.{each.name}") for each in node.names)
            else:
                yield node.lineno, node.module or ""


def broken(own: str, other: str) -> bool:
    return own != other and STEP_OF[other] >= STEP_OF[own]


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_imports_point_one_way(path: Path) -> None:
    own = room_of(module_of(path))
    assert own in STEP_OF, f"{own} has no place in the order of the rooms"
    wrong = [
        f"{path.name}:{line}: {own} imports {module}"
        for line, module in imports_of(path)
        if module.split(".")[0] == "simulator" and broken(own, room_of(module))
    ]
    assert wrong == []


def test_the_order_refuses_later_and_neighbouring_rooms() -> None:
    assert broken("config", "formats")
    assert broken("workload", "cost")
    assert broken("units", "errors")
    assert not broken("api", "engine")
    assert not broken("workload", "workload")


def _loaded_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return {module.split(".")[0] for module in done.stdout.split()}


@pytest.mark.parametrize("module", ["simulator", "simulator.api"])
def test_heavy_libraries_wait_until_they_are_used(module: str) -> None:
    assert sorted(_loaded_after(f"import {module}") & set(HEAVY)) == []


def test_reading_parts_needs_only_pydantic_and_yaml() -> None:
    assert sorted(_loaded_after("import simulator.config") & {*HEAVY, "numpy"}) == []


def test_pre_commit_uses_the_versions_of_the_dev_extra() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pinned = dict(
        each.split("==") for each in project["optional-dependencies"]["dev"] if "==" in each
    )
    hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    assert re.findall(r"rev: v(\S+)", hooks) == [pinned["ruff"]]
    assert re.findall(r"mypy (\d\S+)", hooks) == [pinned["mypy"]]
