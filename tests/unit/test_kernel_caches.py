"""Is a kernel compiled anew when a helper changes that it calls, wherever that stands?"""

import ast
import importlib
from functools import cache
from pathlib import Path

import simulator

ROOT = Path(simulator.__file__).parent


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse(Path(str(importlib.import_module(module).__file__)).read_text("utf-8"))


@cache
def functions_of(module: str) -> dict[str, ast.FunctionDef]:
    return {each.name: each for each in tree_of(module).body if isinstance(each, ast.FunctionDef)}


def found(module: str, name: ast.expr) -> tuple[str, str] | None:
    """Return module and name of the function of this project that an expression names."""
    held: object = importlib.import_module(module)
    for part in ast.unparse(name).split("."):
        held = getattr(held, part, None)
    home = getattr(held, "__module__", None) or ""
    called = getattr(held, "__name__", "")
    if home.startswith("simulator.") and called in functions_of(home):
        return home, called
    return None


def modules_called(module: str, name: str) -> set[str]:
    """Return the modules of all functions that a function calls, and so on."""
    left, seen = [(module, name)], {(module, name)}
    while left:
        here, function = left.pop()
        body = ast.Module(functions_of(here)[function].body, [])
        calls = [each.func for each in ast.walk(body) if isinstance(each, ast.Call)]
        new = {called for each in calls if (called := found(here, each))} - seen
        seen |= new
        left += new
    return {home for home, _ in seen}


def test_kernels_name_all_modules_of_their_helpers() -> None:
    kernels = 0
    for path in sorted(ROOT.rglob("*.py")):
        module = ".".join(("simulator", *path.relative_to(ROOT).with_suffix("").parts))
        if "@compiled(" not in path.read_text("utf-8") or path.name == "kernels.py":
            continue
        held = importlib.import_module(module)
        for function in functions_of(module).values():
            for decorator in function.decorator_list:
                if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "compiled":
                    named = {getattr(held, ast.unparse(each)).__name__ for each in decorator.args}
                    needed = modules_called(module, function.name) - {module}
                    assert needed <= named, (module, function.name, needed - named)
                    kernels += 1
    assert kernels > 30
