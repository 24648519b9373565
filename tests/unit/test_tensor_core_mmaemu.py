"""Does the tensor core give what mmaemu gives, on 256 outputs of every kind of data?

mmaemu 0.1.0 needs PyTorch, 5 GB with its libraries, so it is not a dependency of the tests: what it
gave once, in an environment of its own with torch 2.14.1, stands below as digests of all bits. To
record anew, print `digest` of what this returns, its activations padded to a multiple of 16:

    mmaemu.model.chain.chain_gemm(x, w, fmt_a="e4m3", fmt_b="e5m2", preset="hopper").numpy()
"""

import hashlib

import numpy as np
import pytest

from simulator.formats.minifloat import decode
from simulator.formats.presets import FP8_E4M3FN, FP8_E5M2
from simulator.numerics.tensor_core import ADA_FP8, HOPPER_FP8, dot_tensor_core, gemm_tensor_core

FORMS = {"e4m3": FP8_E4M3FN, "e5m2": FP8_E5M2}
CORES = {"hopper": HOPPER_FP8, "ada": ADA_FP8}
#: 256 outputs; the last block of either core is short.
ROWS, DEPTH = 16, 205
#: Of an exponent and mantissa: infinity and NaN, or NaN alone.
TOP = {"e4m3": 0x7F, "e5m2": 0x7C}

RECORDED = {
    ("hopper", "e4m3", "e4m3", "wide"): "2f331a8923c86179",
    ("hopper", "e4m3", "e4m3", "near"): "42f4a1e3ba3f29e0",
    ("hopper", "e4m3", "e4m3", "small"): "3233750775b22f0e",
    ("hopper", "e4m3", "e4m3", "cancelling"): "b3e6515383dc4497",
    ("hopper", "e5m2", "e5m2", "wide"): "e82194a56269f7b9",
    ("hopper", "e5m2", "e5m2", "near"): "58544559564db364",
    ("hopper", "e5m2", "e5m2", "small"): "66af047dd450cb2a",
    ("hopper", "e5m2", "e5m2", "cancelling"): "38352d869c0c2ea0",
    ("hopper", "e4m3", "e5m2", "wide"): "7e671b77cd571f2c",
    ("hopper", "e4m3", "e5m2", "near"): "7fd156a43cc78165",
    ("hopper", "e4m3", "e5m2", "small"): "2d0d18b13105f25d",
    ("hopper", "e4m3", "e5m2", "cancelling"): "887187ad47331307",
    ("ada", "e4m3", "e4m3", "wide"): "9700844f470d61d5",
    ("ada", "e4m3", "e4m3", "near"): "23a9ad2e9bb40070",
    ("ada", "e4m3", "e4m3", "small"): "b0547acff463e1dc",
    ("ada", "e4m3", "e4m3", "cancelling"): "554cdde3fd7707cb",
    ("ada", "e5m2", "e5m2", "wide"): "5150ebe6a796ac50",
    ("ada", "e5m2", "e5m2", "near"): "a8c45de71fccc13c",
    ("ada", "e5m2", "e5m2", "small"): "66af047dd450cb2a",
    ("ada", "e5m2", "e5m2", "cancelling"): "670647a85138ab78",
    ("ada", "e4m3", "e5m2", "wide"): "a84fefa89d7ca331",
    ("ada", "e4m3", "e5m2", "near"): "33fb55da5ddc264f",
    ("ada", "e4m3", "e5m2", "small"): "2d0d18b13105f25d",
    ("ada", "e4m3", "e5m2", "cancelling"): "f33e1e3960a38a99",
}


def codes_of(form: str, data: str, seed: int) -> np.ndarray:
    """Return finite codes, (16, 205): from integers alone, so that they are the same anywhere.

    wide: every code; near: those of 2^-2 to 2^2; small: subnormal ones and those just above;
    cancelling: as near, then the same again in the same order, activations (seed 1) negated.
    """
    random = np.random.default_rng(seed)
    codes = random.integers(0, 256, (ROWS, DEPTH), dtype=np.uint8)
    mantissa = 3 if form == "e4m3" else 2
    bias = 7 if form == "e4m3" else 15
    sign, low = codes & 0x80, codes & (1 << mantissa + 2) - 1
    match data:
        case "wide":
            return np.where((codes & TOP[form]) == TOP[form], codes & 0x83, codes)
        case "small":
            return sign | low
    near = sign | low + (bias - 2 << mantissa)
    if data == "cancelling":
        half = DEPTH // 2
        near[:, half : 2 * half] = near[:, :half] ^ (0x80 if seed == 1 else 0)
    return near.astype(np.uint8)


def digest(found: np.ndarray) -> str:
    return hashlib.blake2b(found.astype("<f4").tobytes(), digest_size=8).hexdigest()


@pytest.mark.parametrize(("core", "left", "right", "data"), RECORDED)
def test_256_outputs_equal_those_of_mmaemu(core: str, left: str, right: str, data: str) -> None:
    x, w = codes_of(left, data, 1), codes_of(right, data, 2)
    forms = FORMS[left], FORMS[right]
    found = gemm_tensor_core(x, w, forms, CORES[core])
    assert found.shape == (16, 16)
    assert digest(found) == RECORDED[core, left, right, data]


@pytest.mark.parametrize(("core", "left", "right", "data"), RECORDED)
def test_the_specification_gives_the_same(core: str, left: str, right: str, data: str) -> None:
    """On four rows: the digests are of the kernel's outputs."""
    forms = FORMS[left], FORMS[right]
    x, w = codes_of(left, data, 1)[:4], codes_of(right, data, 2)[:4]
    rows, columns = decode(forms[0], x).tolist(), decode(forms[1], w).tolist()
    expected = [[dot_tensor_core(a, b, forms, CORES[core]) for b in columns] for a in rows]
    found = gemm_tensor_core(x, w, forms, CORES[core])
    assert (found.view(np.uint32) == np.array(expected, np.float32).view(np.uint32)).all()


def test_the_data_tell_the_cores_and_their_steps_apart() -> None:
    """Cases differ, where sums are not exact in either, and cancelling sums are small."""
    assert len(RECORDED) == 24
    for (core, left, right, data), recorded in RECORDED.items():
        exact = data == "small" and right == "e5m2"
        if core == "hopper":
            assert (RECORDED["ada", left, right, data] == recorded) == exact
    x, w = codes_of("e4m3", "cancelling", 1), codes_of("e4m3", "cancelling", 2)
    forms = FORMS["e4m3"], FORMS["e4m3"]
    found = gemm_tensor_core(x, w, forms, HOPPER_FP8)
    a, b = (np.abs(decode(FP8_E4M3FN, codes)) for codes in (x, w))
    assert np.median(np.abs(found) / (a @ b.T)) < 0.02
