"""Modules of an experiment, for tests: folders of experiments are no packages."""

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

EXPERIMENTS = Path(__file__).parents[1] / "experiments"


def loaded(experiment: str, names: Sequence[str]) -> list[ModuleType]:
    """Load modules by path; they import each other by name only while they load."""
    kept = {name: sys.modules.pop(name, None) for name in names}
    modules = []
    for name in names:
        path = EXPERIMENTS / experiment / f"{name}.py"
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        modules.append(module)
    for name, module in kept.items():
        del sys.modules[name]
        if module is not None:
            sys.modules[name] = module
    return modules
