"""Checking a datapath: does it see what is right, and, above all, what is wrong?"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simulator.errors import InputError
from simulator.formats import get
from simulator.formats.binary_coded import decode
from simulator.formats.codebook import TABLES
from simulator.formats.conversion import Encoded
from simulator.formats.outlier_victim import OLIVES
from simulator.numerics.coded_paths import binary_code
from simulator.numerics.data import KINDS
from simulator.numerics.datapaths import DATAPATHS
from simulator.numerics.decoded_paths import olive_parts, shifted_part
from simulator.numerics.operands import Datapath, Operands, rounded, scaled_groups, two_levels
from simulator.numerics.verify import _outputs, check_operands, error_bound, verify

SMALL = (3, 5, 300)
INTEGERS = [name for name, path in DATAPATHS.items() if path.oracle is not None]
WEIGHTS = {
    "mixpe_w4a8": ("int4-g128", "int4-g64-asym", "int3-channel", "int4-tensor", "int2-g32-s32"),
    "mixpe": ("int4-g128", "int4-g64-asym", "int4-channel", "int4-tensor", "int4-g128-s8"),
    "mixpe_chain": ("int4-g128-asym",),
    "lut": ("int2-g128", "int4-g100-asym", "int8-channel", "int3-tensor-asym"),
    "lut_conventional": ("int1-g128-asym", "int2-g128", "int4-g100-asym", "int8-channel"),
    "unpu": ("int1-g128-asym", "int3-tensor-asym", "int4-g50", "int8-channel"),
    "bit_fusion": ("int2-g128", "int4-g100-asym", "int8-channel"),
    "comet": ("int4-g128", "int4-g64-asym", "int3-channel", "int4-tensor"),
    "figlut": ("int1-g128-asym", "int2-g50", "int3-channel", "int4-g128", "int4-g100-asym"),
    "abq": ("int2-g128", "int4-g64-asym", "int8-channel", "int5-tensor"),
    "bipolar": ("int2-g128", "int4-g64-asym", "int8-channel"),
    "ternary": ("ternary-tensor", "ternary-g64", "ternary-channel"),
    "int8_mac": ("int8-channel", "int4-g64-asym", "ternary-g64", "int8"),
    "bf16_mac": ("bf16", "int4-g128-asym", "mxfp4"),
    "lut_fp16": ("int2-g128", "int4-g100-asym", "int8-channel", "int3-tensor-asym"),
    "lut_fp8": ("int2-g128", "int4-g64-asym"),
    "lut_int8": ("int4-g128", "int3-channel-asym"),
    "dequantise": ("int4-g128", "nf4-g64", "mxfp4", "fp8_e4m3fn", "bitmod4", "fp16"),
    "figna": ("int4-g128", "int8-channel", "int3-tensor"),
    "t_mac": ("int4-g128", "int2-g64-asym", "int3-g64"),
    "t_mac_exact": ("int4-g128", "int2-g64-asym"),
    "l_mul": ("bf16",),
    "pim_fp16": ("fp16",),
    "pim_bf16": ("bf16",),
    "chain_fp16": ("fp16",),
    "fma_fp16": ("fp16",),
    "chain_bf16": ("bf16",),
    "split_k": ("fp16",),
    "narrow": ("int4-g128", "int8-channel", "int4-g64-asym"),
    "mx_dot": ("mxfp4", "mxfp6_e2m3", "mxfp6_e3m2", "mxfp8_e4m3", "mxfp8_e5m2", "mxint8"),
    "nv_dot": ("nvfp4", "nvint4"),
    "tensor_core_hopper": ("fp8_e4m3fn", "fp8_e5m2"),
    "tensor_core_ada": ("fp8_e4m3fn", "fp8_e5m2"),
    "bit_mod": (
        "bitmod3",
        "bitmod4",
        "bitmod4-g50",
        "bitmod3-tensor",
        "int6-g128-s8",
        "int8-g64-s8",
    ),
    "shift_add_llm": (
        "bcq3",
        "bcq1-g50",
        "bcq4-channel",
        "int4-g128",
        "int2-g50",
        "int7-channel",
        "int3-tensor",
    ),
    "shift_add_llm_4": ("bcq3", "bcq2-g50", "bcq4-g4", "bcq3-channel", "int4-g128", "int3-tensor"),
    "axcore": ("fp4_e2m1fn-g128", "fp4_e2m1fn-channel", "fp4_e2m1fn-g50-s32"),
    "ant": ("flint4-g128", "flint4-channel", "pot4-tensor", "int4-g50", "int8-channel"),
    "olive": ("olive_int4-g128", "olive_flint4-channel", "olive_int8-g50"),
    "two_level": ("int4-g128-s8", "int8-g16-s8", "int2-g50-s8", "qserve", "qserve-g50"),
}
ACTIVATIONS = {
    "mx_dot": ("mxfp4", "mxfp6_e3m2", "mxfp8_e5m2", "mxint8"),
    "nv_dot": ("nvint4",),
    "tensor_core_hopper": ("fp8_e5m2",),
    "tensor_core_ada": ("fp8_e5m2",),
    "ant": ("pot4-token", "int8-tensor", "int4-token"),
    "bit_fusion": ("int2-token", "int4-tensor", "int8-token"),
    "unpu": ("int4-token",),
}


@pytest.mark.parametrize(
    ("name", "weights"), [(name, each) for name, listed in WEIGHTS.items() for each in listed]
)
def test_datapaths_are_bit_exact_in_every_format_that_they_take(name: str, weights: str) -> None:
    found = verify(name, SMALL, weights)
    assert found.bit_exact
    assert found.weight_format == weights
    assert found.reference.startswith("specification (15)")
    assert found.reference.endswith(", exact integers and bound (all)") == (name in INTEGERS)


@pytest.mark.parametrize(
    ("name", "activations"),
    [(name, each) for name, listed in ACTIVATIONS.items() for each in listed],
)
def test_datapaths_are_bit_exact_for_every_kind_of_activations(name: str, activations: str) -> None:
    found = verify(name, SMALL, None, activations)
    assert found.bit_exact
    assert found.activation_format == activations


def test_every_datapath_is_checked_here() -> None:
    assert set(WEIGHTS) == set(DATAPATHS)


@pytest.mark.parametrize("name", INTEGERS)
def test_integer_datapaths_differ_from_float64_by_their_last_roundings(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("simulator.numerics.verify.OUTPUTS", 4)
    activations = "olive_int4-token" if name == "olive" else "int8-token"
    found = verify(name, (4, 6, 1000), None, activations, "gaussian")
    # Three roundings a group, eight groups; nothing else is lost.
    assert 0 < found.max_ulp < 1000
    assert found.sqnr_db > 130


def test_rounding_more_often_costs_accuracy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulator.numerics.verify.OUTPUTS", 4)
    names = ("pim_bf16", "pim_fp16", "mixpe_chain", "mixpe", "mixpe_w4a8")
    found = {name: verify(name, (6, 8, 1024), data="gaussian").sqnr_db for name in names}
    assert found["pim_bf16"] < found["pim_fp16"] < found["mixpe_chain"] < found["mixpe"]
    assert found["mixpe"] < found["mixpe_w4a8"]


def test_narrow_chains_cost_accuracy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulator.numerics.verify.OUTPUTS", 4)
    names = ("chain_bf16", "chain_fp16", "split_k")
    bf16, fp16, split = (verify(name, (6, 8, 1024), data="gaussian").sqnr_db for name in names)
    # Three bits more; then four roundings to FP16 and three additions, not a thousand.
    assert bf16 + 15 < fp16 < split - 15


def test_split_k_stores_four_sums() -> None:
    form = get("fp16")
    w = np.zeros((1, 256), dtype=np.float32)
    w[0, ::64] = 2048, 1, 1, 1
    operands = Operands(form.encode(np.ones((1, 256), np.float32)), form.encode(w), form, form)
    # FP16 has steps of 2 here: each 1 is lost, where one sum in FP32 would be 2051.
    assert DATAPATHS["split_k"].run(operands)[0, 0] == 2048
    assert DATAPATHS["split_k"].one(operands) == 2048


def test_tensor_cores_differ_by_their_products_and_their_order() -> None:
    form = get("fp8_e4m3fn")
    generator = np.random.default_rng(5)
    x, w = (form.encode(generator.standard_normal((4, 256))) for _ in range(2))
    operands = Operands(x, w, form, form)
    hopper, ada = (DATAPATHS[f"tensor_core_{name}"].run(operands) for name in ("hopper", "ada"))
    assert not np.array_equal(hopper, ada)


def test_blocks_keep_their_scales() -> None:
    form = get("mxfp4")
    # Multiples of the elements of FP4 in blocks with scales 1 and 32: sums are exact.
    x = form.encode(np.array([[6, 1, 2, 3] * 8 + [192, 16, 32, 64] * 8], dtype=np.float32))
    operands = Operands(x, x, form, form)
    expected = 8 * (36 + 1 + 4 + 9 + 192**2 + 16**2 + 32**2 + 64**2)
    assert DATAPATHS["mx_dot"].run(operands)[0, 0] == expected
    assert DATAPATHS["mx_dot"].one(operands) == expected


def test_nan_blocks_give_nan() -> None:
    form = get("mxfp4")
    x = form.encode(np.array([[np.inf] + [1.0] * 31, [1.0] * 32], dtype=np.float32))
    operands = Operands(x, x, form, form)
    found = DATAPATHS["mx_dot"].run(operands)
    np.testing.assert_array_equal(np.isnan(found), [[True, True], [True, False]])
    assert np.isnan(DATAPATHS["mx_dot"].one(operands.rows(0, 1)))


def test_a_narrow_accumulator_saturates() -> None:
    x_form, w_form = get("int8-token"), get("int8-channel")
    x = x_form.encode(np.full((1, 64), 127, dtype=np.float32))
    w = w_form.encode(np.stack([np.full(64, value, np.float32) for value in (127, -127)]))
    found = DATAPATHS["narrow"].run(Operands(x, w, x_form, w_form))
    np.testing.assert_array_equal(found, [[32767, -32768]])
    assert verify("narrow", SMALL, "int8-channel", data="gaussian").sqnr_db < 20


@pytest.mark.parametrize("name", ["int4-g16-s8", "bitmod4-g16", "bitmod3", "int8-g50-s8"])
@pytest.mark.parametrize("size", [1.0, 3e-4, 1e-5])
def test_two_levels_are_the_scales_that_encoding_had(name: str, size: float) -> None:
    values = np.random.default_rng(1).standard_normal((40, 300)).astype(np.float32)
    encoded = get(name).encode(values * np.float32(size))
    assert isinstance(encoded, Encoded)
    scales, channels = two_levels(encoded)
    np.testing.assert_array_equal(channels, channels.astype(np.float16))
    np.testing.assert_array_equal(scales * channels.astype(np.float64), encoded.scales)


def test_a_binary_code_is_its_integers() -> None:
    for bits in range(1, 8):
        codes = np.arange(-(1 << bits - 1), 1 << bits - 1).reshape(2, -1)
        coded = binary_code(codes, bits)
        assert coded.planes == bits + 1
        np.testing.assert_array_equal(decode(coded), codes)


@pytest.mark.parametrize("name", ["olive_int4-token", "olive_flint4-token", "olive_int8-token"])
def test_parts_of_olive_are_small_integers_and_shifts(name: str) -> None:
    form = get(name)
    olive = OLIVES[form.base]
    codes = [code for code in range(2 * olive.identifier) if code % olive.identifier]
    pairs = [(code, 1) for code in codes] + [(code, olive.identifier) for code in codes]
    pairs += [(olive.identifier, code) for code in codes]
    parts = olive_parts(form, [code for pair in pairs for code in pair])
    values = [value for pair in pairs for value in olive.decode_pair(*pair)]
    assert [part * 2**shift for part, shift in parts] == values
    assert max(abs(int(part)) for part, _ in parts) <= olive.largest_normal


@pytest.mark.parametrize("name", ["flint4-token", "pot4-token", "int8-token"])
def test_parts_of_ant_are_small_integers_and_shifts(name: str) -> None:
    form = get(name)
    codes = range(16) if form.kind == "codebook" else range(-128, 128)
    for code in codes:
        part, shift = shifted_part(form, code)
        value = TABLES[form.base].values[code] if form.kind == "codebook" else code
        assert part * 2**shift == value
        assert part % 2 or (part, shift) == (0, 0)
        assert abs(part) <= 3 or form.kind == "int"


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 9, 129), (2, 1, 64), (7, 3, 5)])
@pytest.mark.parametrize("name", DATAPATHS)
def test_any_shape_will_do(name: str, shape: tuple[int, int, int]) -> None:
    rows, columns, depth = shape
    # OliVe codes values in pairs.
    shape = (rows, columns, depth + (name == "olive") * depth % 2)
    found = verify(name, shape)
    assert found.bit_exact
    assert found.shape == shape


def test_many_outputs_are_compared_where_there_are_many() -> None:
    found = verify("ternary", (30, 40, 8))
    assert found.reference == "specification (256), exact integers and bound (all)"


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_gives_the_same_errors_again(kind: str) -> None:
    first, second = (verify("mixpe", SMALL, data=kind, seed=3) for _ in range(2))
    assert dataclasses.replace(first, seconds=0) == dataclasses.replace(second, seconds=0)
    assert first.sqnr_db != verify("mixpe", SMALL, data=kind, seed=4).sqnr_db


def test_weights_may_come_from_a_file(tmp_path: Path) -> None:
    weights = np.linspace(-1, 1, 7 * 200).reshape(7, 200)
    np.save(tmp_path / "w.npy", weights)
    found = verify("mixpe", (2, 1, 1), data=str(tmp_path / "w.npy"))
    assert found.shape == (2, 7, 200)
    assert found.bit_exact


def broken(path: Datapath, change: Callable[[Any], None]) -> Datapath:
    """Return a datapath whose kernel is wrong in one way."""

    def run(operands: Operands) -> np.ndarray:
        found = path.run(operands).copy()
        change(found)
        return found

    return dataclasses.replace(path, run=run)


def flip_last(found: np.ndarray) -> None:
    found[-1, -1] = np.nextafter(found[-1, -1], np.float32(np.inf))


def flip_all(found: np.ndarray) -> None:
    np.nextafter(found, np.float32(np.inf), out=found)


@pytest.mark.parametrize("change", [flip_last, flip_all])
@pytest.mark.parametrize("name", DATAPATHS)
def test_one_wrong_bit_is_seen(
    name: str, change: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("simulator.numerics.verify.OUTPUTS", 8)
    paths = {**DATAPATHS, name: broken(DATAPATHS[name], change)}
    monkeypatch.setattr("simulator.numerics.datapaths.DATAPATHS", paths)
    assert not verify(name, (20, 30, 64)).bit_exact


def test_the_exact_oracle_sees_outputs_that_the_specification_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = DATAPATHS["abq"]
    one = broken(path, lambda found: found[1:-1, 1:2].fill(0))
    monkeypatch.setattr("simulator.numerics.datapaths.DATAPATHS", {"abq": one})
    monkeypatch.setattr("simulator.numerics.verify.OUTPUTS", 4)
    assert not verify("abq", (20, 30, 64)).bit_exact


def test_a_wrong_zero_point_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    path = DATAPATHS["mixpe_w4a8"]

    def forgetful(operands: Operands) -> np.ndarray:
        w = dataclasses.replace(operands.w, zeros=None)  # type: ignore[type-var]
        return path.run(dataclasses.replace(operands, w=w))

    monkeypatch.setattr(
        "simulator.numerics.datapaths.DATAPATHS",
        {"mixpe_w4a8": dataclasses.replace(path, run=forgetful)},
    )
    assert not verify("mixpe_w4a8", SMALL, "int4-g64-asym").bit_exact


#: Every path whose weights have scales of groups, and a format of groups of 64 for it.
GROUPED = {
    "int8_mac": "int4-g64-asym",
    "dequantise": "fp16-g64",
    "mixpe": "int4-g64-asym",
    "mixpe_chain": "int4-g64",
    "figna": "int4-g64",
    "t_mac": "int4-g64-asym",
    "mixpe_w4a8": "int4-g64-asym",
    "lut": "int4-g64-asym",
    "t_mac_exact": "int4-g64",
    "comet": "int4-g64-asym",
    "abq": "int4-g64",
    "bipolar": "int4-g64",
    "ternary": "ternary-g64",
    "narrow": "int4-g64",
    "lut_fp16": "int4-g64-asym",
    "lut_fp8": "int4-g64",
    "lut_int8": "int4-g64",
    "bit_mod": "bitmod4-g64",
    "shift_add_llm": "int4-g64",
    "shift_add_llm_4": "int4-g64",
    "axcore": "fp4_e2m1fn-g64",
    "ant": "flint4-g64",
    "olive": "olive_int4-g64",
    "two_level": "qserve-g64",
}
by_group = Encoded.by_group


def other_scales(encoded: Encoded) -> Encoded:
    own = by_group(encoded)
    return dataclasses.replace(own, scales=own.scales[:, ::-1])


def other_zeros(encoded: Encoded) -> Encoded:
    own = by_group(encoded)
    return own if own.zeros is None else dataclasses.replace(own, zeros=15 - own.zeros)


def other_tables(encoded: Encoded) -> Encoded:
    own = by_group(encoded)
    selectors = own.selectors
    return own if selectors is None else dataclasses.replace(own, selectors=3 - selectors)


def first_row(encoded: Encoded) -> Encoded:
    own = by_group(encoded)
    return dataclasses.replace(own, scales=own.scales[:1].repeat(len(own.codes), axis=0))


@pytest.mark.parametrize("fault", [other_scales, first_row])
@pytest.mark.parametrize(("name", "weights"), GROUPED.items())
def test_scales_of_other_groups_are_seen(
    name: str, weights: str, fault: Callable[[Encoded], Encoded], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("simulator.numerics.verify.OUTPUTS", 8)
    assert verify(name, (2, 6, 256), weights).bit_exact
    monkeypatch.setattr(Encoded, "by_group", fault)
    assert not verify(name, (2, 6, 256), weights).bit_exact


@pytest.mark.parametrize(
    ("name", "weights", "fault"),
    [(name, each, other_zeros) for name, each in GROUPED.items() if get(each).zero_bits]
    + [("bit_mod", "bitmod4-g64", other_tables)],
)
def test_other_zero_points_and_tables_are_seen(
    name: str, weights: str, fault: Callable[[Encoded], Encoded], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Encoded, "by_group", fault)
    assert not verify(name, (2, 6, 256), weights).bit_exact


def added_zeros(encoded: Encoded) -> np.ndarray:
    own = by_group(encoded)
    zeros = 0 if own.zeros is None else np.repeat(own.zeros.astype(np.int64), own.sizes[1], axis=1)
    return own.codes.astype(np.int64) + zeros


def half_scales(weights: Encoded) -> tuple[np.ndarray, np.ndarray]:
    scales, channels = two_levels(weights)
    return scales // 2, channels


def no_scale_of_tokens(operands: Operands, product: Any) -> np.ndarray:
    assert isinstance(operands.x, Encoded)
    return scaled_groups(operands.x.codes, operands, lambda x, w: product(x, w, operands))


@pytest.mark.parametrize(
    ("place", "fault", "name", "weights"),
    [
        ("mac_paths._elements", added_zeros, "int8_mac", "int4-g64-asym"),
        ("decoded_paths.two_levels", half_scales, "two_level", "int4-g64-s8"),
        ("coded_paths.two_levels", half_scales, "bit_mod", "bitmod4-g64"),
        ("decoded_paths.dequantised", no_scale_of_tokens, "ant", "flint4-g64"),
        ("decoded_paths.dequantised", no_scale_of_tokens, "olive", "olive_int4-g64"),
        *(
            ("integer_paths.dequantised", no_scale_of_tokens, name, "int4-g64")
            for name in (
                *("mixpe_w4a8", "lut", "lut_conventional", "unpu", "bit_fusion", "t_mac_exact"),
                *("abq", "bipolar", "comet", "narrow"),
            )
        ),
    ],
)
def test_a_wrong_epilogue_is_seen(
    place: str, fault: Any, name: str, weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"simulator.numerics.{place}", fault)
    assert not verify(name, (4, 6, 256), weights).bit_exact


@pytest.mark.parametrize("factor", [1 - 2.0**-12, 1 + 2.0**-12, 0.0, -1.0])
@pytest.mark.parametrize("name", INTEGERS)
def test_exact_paths_are_near_float64_whatever_specification_and_oracle_say(
    name: str, factor: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = DATAPATHS[name]
    assert path.oracle is not None
    oracle, scale = path.oracle, np.float32(factor)
    wrong = dataclasses.replace(
        path,
        run=lambda operands: path.run(operands) * scale,
        one=lambda operands: float(np.float32(path.one(operands)) * scale),
        oracle=lambda operands: oracle(operands) * scale,
    )
    monkeypatch.setattr("simulator.numerics.datapaths.DATAPATHS", {name: wrong})
    monkeypatch.setattr("simulator.numerics.verify.OUTPUTS", 4)
    assert not verify(name, (3, 5, 256), data="gaussian").bit_exact


def test_the_bound_counts_roundings_of_groups_and_smallest_floats() -> None:
    x, w = get("int8-token"), get("int4-g64")
    ones = np.ones((1, 256), np.float32)
    given = Operands(x.encode(ones), w.encode(ones), x, w)
    sizes = np.abs(given.x_values()) @ np.abs(given.w_values()).T
    # Four groups of weights and one of activations, and five roundings more.
    np.testing.assert_allclose(error_bound(given), 10 * 2.0**-24 * sizes, rtol=1e-12)
    tiny = Operands(x.encode(0 * ones), w.encode(ones), x, w)
    assert error_bound(tiny)[0, 0] == 10 * 2.0**-150


@pytest.mark.parametrize("weights", ["dfp8-g64", "int8-g64-s32"])
@pytest.mark.parametrize("size", [1e-36, 1e-40, 1e30])
def test_the_smallest_and_largest_results_are_within_the_bound(weights: str, size: float) -> None:
    generator = np.random.default_rng(8)
    values = [generator.standard_normal((4, 256)).astype(np.float32) for _ in range(2)]
    x, w = get("int8-token-s32"), get(weights)
    given = Operands(x.encode(values[0]), w.encode(values[1] * np.float32(size)), x, w)
    assert check_operands(DATAPATHS["int8_mac"], given, seed=0, outputs=16).bit_exact


def test_integers_beyond_float64_round_once() -> None:
    # Above a tie of float32 by less than a step of float64.
    assert rounded(2**60 + 2**36 + 1) == 2.0**60 + 2.0**37
    assert rounded(-(2**60) - 2**36) == -(2.0**60)
    assert rounded(0.1) == np.float32(0.1)


def test_signs_of_zeros_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    form = get("fp16")
    zeros = form.encode(np.zeros((2, 4), np.float32))
    given = Operands(zeros, zeros, form, form)
    path = DATAPATHS["fma_fp16"]
    assert check_operands(path, given, seed=0, outputs=4).bit_exact
    negative = dataclasses.replace(path, run=lambda operands: -path.run(operands))
    assert not check_operands(negative, given, seed=0, outputs=4).bit_exact
    x, w = get("int8-token"), get("int8-channel")
    nothing = np.zeros((2, 4), np.float32)
    integers = Operands(x.encode(nothing), w.encode(nothing), x, w)
    exact = DATAPATHS["int8_mac"]
    assert exact.oracle is not None
    oracle = exact.oracle
    wrong = dataclasses.replace(exact, oracle=lambda operands: -oracle(operands))
    assert not check_operands(wrong, integers, seed=0, outputs=4).bit_exact


def test_nan_equals_nan_of_other_bits() -> None:
    form = get("fp16")
    nan = form.encode(np.full((1, 2), np.nan, np.float32))
    given = Operands(nan, nan, form, form)
    path = DATAPATHS["chain_fp16"]
    negative = dataclasses.replace(path, run=lambda operands: -path.run(operands))
    assert check_operands(negative, given, seed=0, outputs=1).bit_exact


def test_tiny_products_have_the_sign_of_the_specification() -> None:
    form = get("fp16")
    generator = np.random.default_rng(4)
    x, w = (generator.standard_normal((3, 64)) * size for size in (1e-7, 1e-3))
    given = Operands(form.encode(x), form.encode(w), form, form)
    for name in ("fma_fp16", "chain_fp16", "pim_fp16", "split_k", "dequantise"):
        assert check_operands(DATAPATHS[name], given, seed=0, outputs=9).bit_exact


@pytest.mark.parametrize(
    ("name", "weights", "activations"),
    [
        ("int8_mac", "int8-g1", "int8-token"),
        ("int8_mac", "int4-g1-asym", "int8-g1"),
        ("int8_mac", "int8-channel", "int8-g3"),
        ("dequantise", "fp16-g1", "int8-g1"),
        *(
            (f"lut_{table}", weights, "fp16")
            for table in ("fp16", "fp8", "int8")
            for weights in ("int4-g1", "int8-g1", "int4-g1-asym", "qserve-g1")
        ),
        ("mixpe", "int4-g1-asym", "fp16"),
        ("abq", "int4-g1", "int8-token"),
        ("unpu", "int4-g1", "int8-token"),
        ("bit_fusion", "int4-g1", "int4-token"),
        ("figlut", "int4-g1-asym", "fp16"),
        ("two_level", "qserve-g1", "int8-token"),
        ("bit_mod", "bitmod4-g1", "fp16"),
        ("ant", "flint4-g1", "flint4-token"),
        ("axcore", "fp4_e2m1fn-g1", "fp16"),
    ],
)
def test_a_group_may_be_one_value(name: str, weights: str, activations: str) -> None:
    found = verify(name, (2, 3, 9), weights, activations, "gaussian")
    assert found.bit_exact
    limit = {"axcore": 10.0, "lut_fp8": 25.0, "lut_int8": 40.0}.get(name, 60.0)
    assert found.sqnr_db > limit


def test_outputs_are_drawn_without_a_list_of_all() -> None:
    drawn = list(_outputs((1 << 20, 1 << 20), 0, 256))
    last = (1 << 20) - 1
    assert drawn[:4] == [(0, 0), (0, last), (last, 0), (last, last)]
    assert len(set(drawn)) == 256
    assert sorted(_outputs((3, 5), 1, 256)) == [(m, n) for m in range(3) for n in range(5)]
    assert len(set(_outputs((30, 40), 1, 8))) == 8
    assert list(_outputs((30, 40), 1, 8)) != list(_outputs((30, 40), 2, 8))


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        (
            "int8_mac",
            (99999999, 99999999, 9),
            "shape: 99999999x99999999x9 is too large: operands and outputs take 7.45e+07 GiB in "
            "float64, at most 2 are checked",
        ),
        (
            "mixpe",
            (1, 1, 1 << 40),
            "shape: 1x1x1099511627776 is too large: operands and outputs take 1.64e+04 GiB in "
            "float64, at most 2 are checked",
        ),
        (
            "shiftmax",
            (1 << 20, 1 << 20, 1),
            "shape: 1048576x1048576 is too large: its values take 8.19e+03 GiB in float64, at "
            "most 2 are checked",
        ),
    ],
)
def test_what_would_not_fit_into_memory_is_refused(
    name: str, shape: tuple[int, int, int], message: str
) -> None:
    with pytest.raises(InputError) as error:
        verify(name, shape)
    assert str(error.value) == message


def test_weights_of_a_file_count_in_what_is_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("simulator.numerics.verify.MOST_BYTES", 1000)
    np.save(tmp_path / "w.npy", np.ones((20, 10)))
    with pytest.raises(InputError, match=r"^shape: 2x20x10 is too large: "):
        verify("mixpe", (2, 1, 1), data=str(tmp_path / "w.npy"))


def test_operands_of_one_output_are_rows() -> None:
    form = get("int4-g64-asym")
    x = get("int8-token").encode(np.ones((3, 128), np.float32))
    w = form.encode(np.arange(5 * 128, dtype=np.float32).reshape(5, 128))
    whole = Operands(x, w, get("int8-token"), form)
    row = whole.rows(2, 3)
    np.testing.assert_array_equal(row.w_values()[0], whole.w_values()[3])
    np.testing.assert_array_equal(row.x_values()[0], whole.x_values()[2])


#: What formats of a datapath must be.
MX = (
    "mx_dot: both operands must be of mxfp8_e4m3, mxfp8_e5m2, mxfp6_e3m2, mxfp6_e2m3, mxfp4, mxint8"
)
FP8 = "both operands must be of fp8_e4m3fn, fp8_e5m2"
BIT_MOD = "bit_mod: weights must be of bitmod3, bitmod4, int6, int8 with 8-bit scales"
ANT = "must be flint4, pot4 or symmetric int1 to int8, with a scale"
TWO_LEVEL = "two_level: weights must be qserve, or int2 to int8 in groups with 8-bit scales"


@pytest.mark.parametrize(
    ("name", "weights", "activations", "message"),
    [
        (
            "mixpe",
            "int8-channel",
            None,
            "mixpe: weights must be int4 with a scale, got int8-channel",
        ),
        ("mixpe", "int4", None, "mixpe: weights must be int4 with a scale, got int4"),
        ("mixpe", None, "bf16", "mixpe: activations must be fp16, got bf16"),
        ("lut", "nf4-g64", None, "lut: weights must be int2 to int8 with a scale, got nf4-g64"),
        (
            "bit_fusion",
            "int3-g128",
            None,
            "bit_fusion: weights must be int2, int4 or int8, got int3-g128",
        ),
        (
            "bit_fusion",
            None,
            "int5-token",
            "bit_fusion: activations must be int2, int4 or int8, got int5-token",
        ),
        (
            "bit_fusion",
            None,
            "fp16",
            "bit_fusion: activations must be int1 to int8 by token or tensor, got fp16",
        ),
        ("unpu", "nf4-g64", None, "unpu: weights must be int2 to int8 with a scale, got nf4-g64"),
        (
            "figlut",
            "int5-channel",
            None,
            "figlut: weights must be int1 to int4 with a scale, got int5-channel",
        ),
        ("figlut", None, "bf16", "figlut: activations must be fp16, got bf16"),
        ("abq", None, "fp16", "abq: activations must be int1 to int8 by token or tensor, got fp16"),
        (
            "abq",
            None,
            "int8-g32",
            "abq: activations must be int1 to int8 by token or tensor, got int8-g32",
        ),
        (
            "abq",
            None,
            "int16-token",
            "abq: activations must be symmetric and of 8 bits at most, got int16-token",
        ),
        (
            "abq",
            None,
            "int8-token-asym",
            "abq: activations must be symmetric and of 8 bits at most, got int8-token-asym",
        ),
        (
            "ternary",
            "int2-g64",
            None,
            "ternary: weights must be ternary with a scale, got int2-g64",
        ),
        ("pim_fp16", "bf16", None, "pim_fp16: both operands must be fp16, got bf16"),
        ("int8_mac", None, "fp16", "int8_mac: operands must be integers, got fp16"),
        ("figna", "int4-g128-asym", None, "figna: weights must be symmetric, got int4-g128-asym"),
        ("figna", "nf4-g64", None, "figna: weights must be int2 to int8 with a scale, got nf4-g64"),
        ("t_mac", "int4-g32", None, "t_mac: groups must be multiples of 64, got int4-g32"),
        (
            "t_mac",
            "int4-channel",
            None,
            "t_mac: weights must be int1 to int4 in groups, got int4-channel",
        ),
        (
            "figna",
            "int9-channel",
            None,
            "figna: weights must be int2 to int8 with a scale, got int9-channel",
        ),
        (
            "shift_add_llm",
            "int8-channel",
            None,
            "shift_add_llm: weights must be binary code or int2 to int7 with a scale, got "
            "int8-channel",
        ),
        ("shift_add_llm", None, "bf16", "shift_add_llm: activations must be fp16, got bf16"),
        (
            "olive",
            "int4-g128",
            None,
            "olive: weights must be of olive_int4, olive_flint4, olive_int8 with a scale, "
            "got int4-g128",
        ),
        (
            "olive",
            None,
            "olive_int4-g128",
            "olive: activations must have scales by token or tensor, got olive_int4-g128",
        ),
        ("two_level", "dfp4-g128", None, f"{TWO_LEVEL}, got dfp4-g128"),
        ("two_level", "int4-g128-asym", None, f"{TWO_LEVEL}, got int4-g128-asym"),
        (
            "mx_dot",
            "nvfp4",
            None,
            f"{MX}, got nvfp4",
        ),
        ("nv_dot", None, "mxfp4", "nv_dot: both operands must be of nvfp4, nvint4, got mxfp4"),
        (
            "tensor_core_ada",
            None,
            "fp16",
            f"tensor_core_ada: {FP8}, got fp16",
        ),
        (
            "tensor_core_hopper",
            "fp8_e4m3fn-channel",
            None,
            f"tensor_core_hopper: {FP8}, got fp8_e4m3fn-channel",
        ),
        (
            "bit_mod",
            "int8-channel",
            None,
            f"{BIT_MOD}, got int8-channel",
        ),
        (
            "bit_mod",
            "int4-g128-s8",
            None,
            f"{BIT_MOD}, got int4-g128-s8",
        ),
        (
            "bit_mod",
            "int6-g128-asym-s8",
            None,
            f"{BIT_MOD}, got int6-g128-asym-s8",
        ),
        ("bit_mod", None, "int8-token", "bit_mod: activations must be fp16, got int8-token"),
        (
            "axcore",
            "fp4_e2m1fn",
            None,
            "axcore: weights must be fp4_e2m1fn with a scale, got fp4_e2m1fn",
        ),
        (
            "axcore",
            "nf4-g128",
            None,
            "axcore: weights must be fp4_e2m1fn with a scale, got nf4-g128",
        ),
        ("axcore", None, "bf16", "axcore: activations must be fp16, got bf16"),
        (
            "ant",
            "flint4",
            None,
            f"ant: weights {ANT}, got flint4",
        ),
        (
            "ant",
            "int4-g128-asym",
            None,
            f"ant: weights {ANT}, got int4-g128-asym",
        ),
        (
            "ant",
            None,
            "int9-token",
            f"ant: activations {ANT}, got int9-token",
        ),
        (
            "ant",
            None,
            "flint4-g128",
            "ant: activations must have scales by token or tensor, got flint4-g128",
        ),
        (
            "two_level",
            "int4-g128",
            None,
            f"{TWO_LEVEL}, got int4-g128",
        ),
        (
            "two_level",
            "int4-g128-asym-s8",
            None,
            f"{TWO_LEVEL}, got int4-g128-asym-s8",
        ),
        (
            "two_level",
            "int9-g128-s8",
            None,
            f"{TWO_LEVEL}, got int9-g128-s8",
        ),
        (
            "two_level",
            None,
            "fp16",
            "two_level: activations must be int1 to int8 by token or tensor, got fp16",
        ),
        ("mixpe", "int44", None, "unknown format 'int44'; did you mean 'int4'?"),
    ],
)
def test_formats_that_a_datapath_does_not_take_are_refused(
    name: str, weights: str | None, activations: str | None, message: str
) -> None:
    with pytest.raises(InputError) as error:
        verify(name, SMALL, weights, activations)
    assert str(error.value) == message


def test_unknown_datapaths_and_empty_shapes_are_refused() -> None:
    with pytest.raises(InputError) as error:
        verify("mixpee")
    assert str(error.value).startswith("unknown datapath 'mixpee'; did you mean 'mixpe'? known: ")
    with pytest.raises(InputError) as error:
        verify("mixpe", (4, 0, 4))
    assert str(error.value) == "shape: M, N and K must be >= 1, got 4x0x4"
