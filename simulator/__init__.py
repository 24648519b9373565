"""nibblesim: simulates transformers on low-bit accelerators; time, energy, and where both go.

The names below are loaded when first used, so that `import simulator` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simulator.api import device_names, load_device, load_model, model_names, simulate
    from simulator.config import replace
    from simulator.errors import InfeasibleError, InputError
    from simulator.mapping.capacity import largest_batch
    from simulator.mapping.policies import Policies
    from simulator.results import Result
    from simulator.results import load as load_result
    from simulator.workload import decode_step, gemm, mixed_step, prefill

    __version__: str

__all__ = [
    "InfeasibleError",
    "InputError",
    "Policies",
    "Result",
    "__version__",
    "decode_step",
    "device_names",
    "gemm",
    "largest_batch",
    "load_device",
    "load_model",
    "load_result",
    "mixed_step",
    "model_names",
    "prefill",
    "replace",
    "simulate",
]

#: Public name -> module and the name there.
_HOMES = {
    "InfeasibleError": ("simulator.errors", "InfeasibleError"),
    "InputError": ("simulator.errors", "InputError"),
    "Policies": ("simulator.mapping.policies", "Policies"),
    "Result": ("simulator.results", "Result"),
    "decode_step": ("simulator.workload", "decode_step"),
    "device_names": ("simulator.api", "device_names"),
    "gemm": ("simulator.workload", "gemm"),
    "largest_batch": ("simulator.mapping.capacity", "largest_batch"),
    "load_device": ("simulator.api", "load_device"),
    "load_model": ("simulator.api", "load_model"),
    "load_result": ("simulator.results", "load"),
    "mixed_step": ("simulator.workload", "mixed_step"),
    "model_names": ("simulator.api", "model_names"),
    "prefill": ("simulator.workload", "prefill"),
    "replace": ("simulator.config", "replace"),
    "simulate": ("simulator.api", "simulate"),
}


if not TYPE_CHECKING:  # which would take any name for a public one

    def __getattr__(name: str) -> Any:
        """Load a public name when it is first asked for."""
        if name == "__version__":
            from importlib.metadata import version

            value: Any = version("nibblesim")
        elif name in _HOMES:
            module, inner = _HOMES[name]
            value = getattr(import_module(module), inner)
        else:
            raise AttributeError(f"module 'simulator' has no attribute {name!r}")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted({*globals(), *__all__})
