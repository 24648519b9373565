"""Are bits of a weight those of all that a model stores, each parameter once?"""

import pytest

from simulator import decode_step, load_model
from simulator.workload import gemm


@pytest.mark.parametrize("name", ["llama-3-8b", "gpt-2", "bitnet-b1.58-3b"])
def test_every_parameter_counts_once(name: str) -> None:
    """Tied tables too: bytes over bits give the parameters."""
    model = load_model(name)
    work = decode_step(model, batch=2, context=64, weights="int4-g128")
    assert 8 * work.weight_bytes / work.bits_per_weight == pytest.approx(model.parameters)
    assert 4.125 < work.bits_per_weight < 4.14


def test_scales_of_one_product() -> None:
    assert gemm(4, 4, 128, weights="int4-g128").bits_per_weight == 4 + 16 / 128
    assert gemm(4, 4, 128, weights="int4-channel").bits_per_weight == 4 + 16 / 128
    assert gemm(4, 4, 256, weights="int4-channel").bits_per_weight == 4 + 16 / 256
