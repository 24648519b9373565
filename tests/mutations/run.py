"""Break one line of the numerics at a time and see whether the fast tests notice.

`make mutations` copies the project into temporary folders, makes each change of `mutations.yaml`
there and runs the tests named beside it; a change that no test notices is printed and gives exit
code 1. The result is written to `result.md`. Nothing in the checkout is ever changed.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

import yaml

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
COPIED = ("simulator", "tests", "hw_configs", "workloads", "pyproject.toml", "README.md")
WORKERS = 2


@dataclass(frozen=True)
class Mutation:
    """One line of `file`, `before` and `after`, what it breaks, and the test file to notice it."""

    file: str
    before: str
    after: str
    breaks: str
    test: str


def mutations() -> list[Mutation]:
    """Return the list that is kept."""
    content = yaml.safe_load((HERE / "mutations.yaml").read_text(encoding="utf-8"))
    return [Mutation(**each) for each in content]


def caught_by(mutation: Mutation, copy: Path) -> str:
    """Return the first test that fails on the mutated copy, "" if all pass; undo the change."""
    file = copy / mutation.file
    original = file.read_text(encoding="utf-8")
    file.write_text(original.replace(mutation.before, mutation.after, 1), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
    command += ["--benchmark-disable", "--no-header", mutation.test]
    # Kernels are cached beside the copy; byte code, known by whole seconds, could be stale.
    kernels = str(copy.parent / f"{copy.name}-kernels")
    settings = {**os.environ, "NUMBA_CACHE_DIR": kernels, "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            command, cwd=copy, env=settings, capture_output=True, text=True, check=False
        )
    finally:
        file.write_text(original, encoding="utf-8")
    if done.returncode not in (0, 1):
        raise RuntimeError(f"{mutation.file}: the tests did not run:\n{done.stdout}{done.stderr}")
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED ")]
    return failed[0].removeprefix("FAILED ").split(" - ")[0] if failed else ""


def copied(folder: Path) -> Path:
    """Return a copy of what the tests need."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, folder / name, ignore=ignored)
        else:
            shutil.copy(source, folder / name)
    return folder


def table(rows: list[tuple[Mutation, str]]) -> str:
    """Return the result as a page."""
    caught = sum(bool(test) for _, test in rows)
    lines = [
        "# One-line mutations of the numerics",
        "",
        f"{caught} of {len(rows)} were caught by the fast tests. Made by `make mutations` from",
        "`mutations.yaml`; the test named is the first that failed.",
        "",
        "| file | what is broken | caught by |",
        "|---|---|---|",
    ]
    for mutation, test in rows:
        name = test.rpartition("/")[2] if test else "**nothing**"
        # A parameter list may hold what Markdown takes for a column.
        name = name.partition("[")[0]
        lines.append(f"| {Path(mutation.file).name} | {mutation.breaks} | {name} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Try all; return 1 if any was not noticed."""
    todo = mutations()
    with tempfile.TemporaryDirectory() as folder:
        copies: SimpleQueue[Path] = SimpleQueue()
        for index in range(WORKERS):
            copies.put(copied(Path(folder) / str(index)))

        def tried(mutation: Mutation) -> str:
            copy = copies.get()
            try:
                return caught_by(mutation, copy)
            finally:
                copies.put(copy)

        rows = []
        with ThreadPoolExecutor(WORKERS) as pool:
            for mutation, test in zip(todo, pool.map(tried, todo), strict=True):
                print(f"{'caught  ' if test else 'SURVIVED'} {mutation.file}: {mutation.breaks}")
                rows.append((mutation, test))
    (HERE / "result.md").write_text(table(rows), encoding="utf-8")
    return int(any(not test for _, test in rows))


if __name__ == "__main__":
    sys.exit(main())
