"""Compiling functions with Numba so that no stale machine code is ever run.

Numba keys its cache by the source file of the compiled function alone: after an edit in a helper of
another module, yesterday's kernel would run. Here the cache folder carries a hash of every module
that a kernel draws on. The folder is NUMBA_CACHE_DIR where set, else the user's cache folder, and
is made when first used.
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar, cast

import numba
from numba.core import config as numba_config
from numba.extending import register_jitable

Function = TypeVar("Function", bound=Callable[..., Any])


def cache_folder(*modules: ModuleType) -> Path:
    """Return the folder of kernels that draw on `modules`, in their present wording."""
    digest = hashlib.blake2b(digest_size=8)
    for module in modules:
        digest.update(Path(str(module.__file__)).read_bytes())
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    root = os.environ.get("NUMBA_CACHE_DIR") or Path(home) / "nibblesim"
    return Path(root) / f"kernels-{digest.hexdigest()}"


def inlined(function: Function) -> Function:
    """Make a helper of kernels part of what calls it, and usable in Python as it stands.

    For helpers in inner loops that make no arrays: to hand over dozens of numbers at each call, or
    to count references, takes as long as their work.
    """
    jitable: Any = register_jitable
    return cast(Function, jitable(forceinline=True, _nrt=False)(function))


def compiled(*modules: ModuleType, counted: bool = True) -> Callable[[Function], Function]:
    """Compile a function; `modules` are those whose helpers it calls, besides its own file.

    counted: False for functions that make no arrays: without the reference counts, which are atomic
    operations at every use of an array by an inlined helper.
    """

    def decorate(function: Function) -> Function:
        """Compile with a cache folder of these modules."""
        settings: Any = numba_config
        njit: Any = numba.njit
        before = settings.CACHE_DIR
        settings.CACHE_DIR = str(cache_folder(*modules))
        try:
            # No kernel divides by zero, and the checks for it cost a tenth of the compile time.
            options = {"cache": True, "nogil": True, "error_model": "numpy", "_nrt": counted}
            kernel: Any = njit(**options)(function)
        finally:
            settings.CACHE_DIR = before
        return cast(Function, kernel)

    return decorate
