"""Is the arithmetic of every product of a workload checked, and is a wrong bit seen?"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from plans import tiny_model

from simulator.api import load_device, simulate
from simulator.config import replace
from simulator.errors import CheckError, InputError
from simulator.hardware import Device
from simulator.numerics import mac_paths
from simulator.results import Result, load
from simulator.workload import decode_step, gemm, prefill

NPU = load_device("generic_npu_128")
FORMATS = {
    "w8a8kv8": ("int8-channel", "int8-token", "int8-token"),
    "w4a8kv4": ("int4-g128-asym", "int8-token", "int4-token-asym"),
    "w4a16": ("int4-g128", "fp16", "fp16"),
    "mx": ("mxfp4", "fp16", "fp8_e4m3fn-token"),
    "plain": ("int8", "int8", "int8"),
}


def decoded(device: Device, formats: tuple[str, str, str], **options: Any) -> Result:
    weights, activations, kv = formats
    model = tiny_model()
    step = decode_step(model, batch=2, context=300, weights=weights, activations=activations, kv=kv)
    return simulate(device, step, "analytic", verify=True, **options)


def with_kernel(pair: str, kernel: str) -> Device:
    return replace(NPU, {"matrix.pe.formats": {pair: 1}, "matrix.pe.kernels": {pair: kernel}})


@pytest.mark.parametrize("formats", FORMATS.values(), ids=FORMATS)
def test_every_distinct_product_is_checked_once(formats: tuple[str, str, str]) -> None:
    result = decoded(NPU, formats)
    result.check()
    found = {(one.m, one.n, one.k): one for one in result.numerics}
    assert len(found) == len(result.numerics)
    # 256 wide, 2 of 4 heads of 64 have keys, 512 in the middle, 1000 words.
    assert set(found) == {
        (2, 256, 256), (2, 128, 256), (2, 300, 64), (2, 64, 300), (2, 512, 256), (2, 256, 512),
        (2, 1000, 256),
    }  # fmt: skip
    assert found[2, 128, 256].ops == ("layer.k_proj", "layer.v_proj")
    assert all(one.bit_exact for one in result.numerics)
    assert all((one.tile_m, one.tile_n) == (min(8, one.m), 32) for one in result.numerics)
    assert {one.reference.partition(" (")[0] for one in result.numerics} == {"specification"}


def test_formats_are_those_of_the_workload_but_for_scales_that_the_product_does_not_see() -> None:
    result = decoded(NPU, FORMATS["w4a8kv4"])
    found = {one.ops[0]: (one.weight_format, one.activation_format) for one in result.numerics}
    assert found["layer.q_proj"] == ("int4-g128-asym", "int8-token")
    assert found["layer.qk"] == ("int4-token-asym", "int8-token")
    assert found["layer.pv"] == ("int4-tensor-asym", "int8-token")
    plain = decoded(NPU, FORMATS["plain"])
    assert {one.weight_format for one in plain.numerics} == {"int8-tensor"}


def test_unfused_attention_has_the_same_products() -> None:
    fused = decoded(NPU, FORMATS["w8a8kv8"])
    assert decoded(NPU, FORMATS["w8a8kv8"], attention="unfused").numerics == fused.numerics


def test_requests_of_several_lengths_have_products_of_their_own() -> None:
    model = tiny_model()
    result = simulate(NPU, decode_step(model, context=[100, 200, 200]), "roofline", verify=True)
    lengths = {one.n for one in result.numerics if one.ops == ("layer.qk",)}
    assert lengths == {100, 200}


def test_a_wrong_bit_fails_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(x: NDArray[Any], w: NDArray[Any]) -> NDArray[np.int64]:
        return x.astype(np.int64) @ w.astype(np.int64).T ^ 1

    monkeypatch.setattr(mac_paths, "gemm_exact", wrong)
    product = gemm(8, 64, 128, weights="int8-channel", activations="int8-token")
    result = simulate(NPU, product, verify=True)
    assert not result.numerics[0].bit_exact
    with pytest.raises(CheckError) as caught:
        result.check()
    assert str(caught.value).splitlines()[1:] == [
        "  numerics: gemm.gemm: int8xint8 differs from specification (16), exact integers and "
        "bound (all) on int8-channel x int8-token"
    ]


def test_the_datapath_of_the_element_is_what_is_run() -> None:
    device = with_kernel("int4xint8", "mixpe_w4a8")
    product = gemm(8, 64, 256, weights="int4-g128", activations="int8-token")
    one = simulate(device, product, verify=True).numerics[0]
    assert (one.datapath, one.bit_exact) == ("mixpe_w4a8", True)
    other = simulate(with_kernel("int4xint8", "lut"), product, verify=True).numerics[0]
    assert other.datapath == "lut"
    # Both are exact on integers: the same bits, thus the same errors.
    assert (other.sqnr_db, other.max_ulp) == (one.sqnr_db, one.max_ulp)


def test_densities_are_those_of_the_bits() -> None:
    product = gemm(8, 32, 256, weights="ternary-tensor", activations="int8-token")
    device = replace(NPU, {"matrix.pe.formats": {"int8xint8": 1}})
    one = simulate(device, product, verify=True).numerics[0]
    # The mean magnitude of a Gaussian times one half is its 31st percentile.
    assert 0.26 < one.weight_zero_fraction < 0.36
    # 1 is 01 and -1 is 11: three bits in four values' worth of non-zeros.
    assert one.weight_bit_density == pytest.approx((1 - one.weight_zero_fraction) * 0.75, abs=0.01)
    assert 0 < one.activation_zero_fraction < 0.1
    assert 0.4 < one.activation_bit_density < 0.5


def test_the_sample_depends_on_the_seed_alone() -> None:
    product = gemm(8, 64, 256, weights="int4-g128", activations="fp16")
    once, again = (simulate(NPU, product, verify=True, seed=3) for _ in range(2))
    assert once.canonical_bytes() == again.canonical_bytes()
    assert once.provenance.seed == 3
    other = simulate(NPU, product, verify=True, seed=4)
    assert other.numerics[0].sqnr_db != once.numerics[0].sqnr_db


def test_nothing_is_checked_unless_asked_for() -> None:
    product = gemm(8, 64, 256, weights="int4-g128", activations="fp16")
    result = simulate(NPU, product)
    assert result.numerics == ()
    assert "Numerics" not in str(result.summary())
    assert not any("bit-exact" in law for law in result.check())


def test_what_was_checked_is_saved_and_shown(tmp_path: Path) -> None:
    product = gemm(8, 64, 256, weights="int8", activations="int8")
    result = simulate(NPU, product, verify=True)
    assert load(result.save(tmp_path)) == result
    text = str(result.summary())
    row = next(line for line in text.splitlines() if line.strip().startswith("gemm.gemm"))
    assert row.split()[:6] == [
        "gemm.gemm",
        "8x64x256",
        "int8-tensor",
        "x",
        "int8-tensor",
        "int8xint8",
    ]
    assert "sampled tiles of 1 distinct products are bit-exact" in result.check()
    assert max(map(len, text.splitlines())) < 100


@pytest.mark.parametrize(
    ("pair", "kernel", "words"),
    [
        ("int4xint8", "mixpe_w4a9", "unknown kernel 'mixpe_w4a9'; did you mean 'mixpe_w4a8'?"),
        (
            "int4xint9",
            "mixpe_w4a8",
            "unknown pair of kernels 'int4xint9'; did you mean 'int4xint8'?",
        ),
    ],
)
def test_kernels_that_do_not_fit_are_refused(pair: str, kernel: str, words: str) -> None:
    changes = {"matrix.pe.formats": {"int4xint8": 1}, "matrix.pe.kernels": {pair: kernel}}
    with pytest.raises(InputError) as caught:
        replace(NPU, changes)
    assert words in str(caught.value)


def test_a_datapath_that_does_not_take_the_formats_is_refused() -> None:
    product = gemm(8, 64, 256, weights="int8-channel", activations="int8-token")
    device = with_kernel("int8xint8", "mixpe_w4a8")
    with pytest.raises(InputError) as caught:
        simulate(device, product, verify=True)
    assert str(caught.value) == (
        "generic_npu_128: PE 'mac8', mixpe_w4a8: weights must be int2 to int4 with a scale, got "
        "int8-channel"
    )


def test_a_prefill_is_checked_on_a_tile_of_its_rows() -> None:
    model = tiny_model()
    result = simulate(NPU, prefill(model, batch=1, sequence=64), "roofline", verify=True)
    assert {one.tile_m for one in result.numerics} == {8, 1}
    result.check()
