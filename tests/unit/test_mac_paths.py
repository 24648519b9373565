"""Does a multiply-accumulate unit compute what lowering prices, for every kind of operand?"""

import numpy as np
import pytest

from simulator.formats import get
from simulator.numerics.mac_paths import mac
from simulator.numerics.operands import Datapath, Operands

M, N, K = 3, 5, 200
INT8, FP16, BF16 = (mac((name, name)) for name in ("int8", "fp16", "bf16"))
INTEGER_WEIGHTS = (
    "int8-channel",
    "int4-g64",
    "int4-g64-asym",
    "int2-tensor",
    "ternary-g128",
    "int8",
)
INTEGER_ACTIVATIONS = ("int8-token", "int8-token-asym", "int8-g32", "uint8-tensor", "int4-g128")
OTHER_WEIGHTS = ("nf4-g64", "mxfp4", "bitmod4", "fp8_e4m3fn-channel", "fp16", "nvfp4")


def operands(weights: str, activations: str, seed: int = 0) -> Operands:
    random = np.random.default_rng(seed)
    w, x = get(weights), get(activations)
    values = [random.standard_normal(size).astype(np.float32) for size in ((M, K), (N, K))]
    return Operands(x.encode(values[0]), w.encode(values[1]), x, w)


def worst(path: Datapath, given: Operands) -> float:
    """Return the largest error against float64, in units of the sum of magnitudes."""
    x, w = given.x_values(), given.w_values()
    return float(np.max(np.abs(path.run(given) - x @ w.T) / (np.abs(x) @ np.abs(w).T)))


@pytest.mark.parametrize("activations", INTEGER_ACTIVATIONS)
@pytest.mark.parametrize("weights", INTEGER_WEIGHTS)
def test_integers_lose_the_last_roundings_alone(weights: str, activations: str) -> None:
    given = operands(weights, activations)
    # Groups of 32 and 64 in 200: at most seven sums, each rounded four times.
    assert worst(INT8, given) < 28 * 2.0**-24
    assert INT8.oracle is not None
    assert INT8.run(given).tobytes() == INT8.oracle(given).tobytes()


@pytest.mark.parametrize("activations", [*INTEGER_ACTIVATIONS, "fp16"])
@pytest.mark.parametrize("weights", [*INTEGER_WEIGHTS, *OTHER_WEIGHTS])
@pytest.mark.parametrize(("path", "bits"), [(FP16, 11), (BF16, 8)])
def test_floats_round_both_operands_once(
    weights: str, activations: str, path: Datapath, bits: int
) -> None:
    # Half a unit for each operand, and the 200 additions of FP32.
    assert worst(path, operands(weights, activations)) < 2 * 2.0**-bits + 2 * K * 2.0**-24


@pytest.mark.parametrize(
    ("path", "weights", "activations"),
    [
        (INT8, "int8-channel", "int8-g32"),
        (INT8, "int4-g64-asym", "int8-token-asym"),
        (FP16, "int4-g64-asym", "int8-g32"),
        (FP16, "nf4-g64", "int8-token-asym"),
        (FP16, "fp16", "fp16"),
    ],
)
def test_every_output_is_that_of_the_specification(
    path: Datapath, weights: str, activations: str
) -> None:
    given = operands(weights, activations)
    outputs = [[path.one(given.rows(m, n)) for n in range(N)] for m in range(M)]
    assert path.run(given).tolist() == outputs


def test_scales_of_activations_stay_out_of_a_float_unit() -> None:
    # Codes up to 127 and weights of one are exact in BF16, whatever the scale: so are the sums.
    x, w = get("int8-token"), get("bf16")
    values = np.random.default_rng(1).standard_normal((M, K)).astype(np.float32)
    given = Operands(x.encode(values), w.encode(np.ones((N, K), np.float32)), x, w)
    assert not isinstance(given.x, np.ndarray)
    sums = given.x.codes.sum(axis=1, dtype=np.int64).astype(np.float32)
    expected = sums * given.x.scales[:, 0].astype(np.float32)
    assert BF16.run(given)[:, 0].tolist() == expected.tolist()


def test_weights_of_a_float_unit_are_dequantised_before_it() -> None:
    x, w = get("bf16"), get("int4-channel")
    values = np.random.default_rng(2).standard_normal((N, 1)).astype(np.float32)
    given = Operands(x.encode(np.ones((1, 1), np.float32)), w.encode(values), x, w)
    bf16 = get("bf16")
    expected = bf16.decode(bf16.encode(given.w_values()))[:, 0]
    assert BF16.run(given)[0].tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("weights", "activations", "wrong"),
    [("mxfp4", "int8-token", "mxfp4"), ("int8-channel", "fp16", "fp16")],
)
def test_integer_units_refuse_what_is_no_integer(
    weights: str, activations: str, wrong: str
) -> None:
    words = INT8.refused(get(weights), get(activations))
    assert words == f"operands must be integers, got {wrong}"
