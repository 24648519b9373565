"""Are passes and operations of an element those of its specification, and of nothing else?"""

from collections.abc import Iterator
from typing import Any

import pytest

from simulator.errors import InputError
from simulator.formats import get
from simulator.numerics import bit_fusion, bit_mod, element, lut, lut_full
from simulator.numerics.datapaths import DATAPATHS
from simulator.numerics.element import ELEMENTS, Work, scale_passes, work


@pytest.fixture(autouse=True)
def _nothing_remembered() -> Iterator[None]:
    """Count anew: some tests edit specifications."""
    element._counted.cache_clear()
    yield
    element._counted.cache_clear()


def counted(kernel: str, k: int, weights: str, activations: str) -> Work:
    return work(kernel, k, get(weights), get(activations))


@pytest.mark.parametrize(
    ("kernel", "k", "weights", "activations", "passes"),
    [
        # BitMoD (HPCA 2025), section IV: 2 terms of FP3 and FP4, 3 of INT6, 4 of INT8.
        ("bit_mod", 4, "bitmod3", "fp16", 2),
        ("bit_mod", 4, "bitmod4", "fp16", 2),
        ("bit_mod", 4, "int6", "fp16", 3),
        ("bit_mod", 4, "int8", "fp16", 4),
        # LUT Tensor Core: a cycle a bit of the weights. ShiftAddLLM: a look-up a plane.
        *[("lut", 4, f"int{bits}", "int8", bits) for bits in (1, 2, 3, 4, 8)],
        *[("shift_add_llm", 8, f"bcq{bits}", "fp16", bits) for bits in (1, 2, 3, 4, 8)],
        *[("shift_add_llm_4", 4, f"bcq{bits}", "fp16", bits) for bits in (2, 3)],
        ("shift_add_llm_4", 8, "bcq3", "fp16", 6), ("shift_add_llm", 8, "int3", "fp16", 4),
        # UNPU, its likes and FIGLUT: a cycle a bit of the weights.
        *[(name, 4, f"int{bits}", "int8", bits) for name in ("unpu", "lut_conventional")
          for bits in (1, 2, 3, 4, 8)],
        *[("figlut", 4, f"int{bits}", "fp16", bits) for bits in (1, 2, 3, 4)],
        # Bit Fusion: of 16 values, 16 products of 2 x 2 bits a cycle to one of 8 x 8.
        ("bit_fusion", 16, "int2", "int2", 1),
        ("bit_fusion", 16, "int2", "int4", 2), ("bit_fusion", 16, "int4", "int2", 2),
        ("bit_fusion", 16, "int4", "int4", 4),
        ("bit_fusion", 16, "int2", "int8", 4), ("bit_fusion", 16, "int8", "int2", 4),
        ("bit_fusion", 16, "int4", "int8", 8), ("bit_fusion", 16, "int8", "int4", 8),
        ("bit_fusion", 16, "int8", "int8", 16),
        # ABQ and bipolar: p x q planes.
        ("abq", 64, "int2", "int8", 16),
        ("bipolar", 64, "int4", "int4", 16),
        # OCP's and NVIDIA's dot units: a block at a time.
        ("mx_dot", 32, "mxfp4", "mxfp4", 1),
        ("nv_dot", 16, "nvfp4", "nvfp4", 1),
        *[("lut_fp16", 4, f"int{bits}", "fp16", bits) for bits in (2, 3, 4)],
        ("lut_fp16", 8, "int3", "fp16", 6),
        *[(name, 1, "int4", "int8", 1) for name in ("mixpe_w4a8", "int8_mac")],
        *[(name, 1, "int4", "fp16", 1) for name in ("mixpe", "mixpe_chain", "figna")],
        ("ternary", 1, "ternary", "int8", 1),
    ],
)  # fmt: skip
def test_passes_are_those_that_were_published(
    kernel: str, k: int, weights: str, activations: str, passes: int
) -> None:
    assert counted(kernel, k, weights, activations).passes == passes


def test_operations_have_the_widths_of_the_formats() -> None:
    assert counted("int8_mac", 1, "int8", "int8").operations == {
        ("mul", (8, 8)): 1, ("add", 32): 1,
    }  # fmt: skip
    assert counted("dequantise", 2, "fp16", "fp16").operations == {
        ("mul", "fp16"): 2, ("add", "fp32"): 2,
    }  # fmt: skip
    shift_add = counted("mixpe_w4a8", 1, "int4", "int8").operations
    # Four masks of the shifted activation, three additions and that of the sum; no product.
    assert {key: n for key, n in shift_add.items() if key[0] == "mask"} == {
        ("mask", 8 + place): 1 for place in range(4)
    }
    assert sum(n for key, n in shift_add.items() if key[0] == "add") == 4
    assert not any(key[0] == "mul" for key in shift_add)


def test_a_table_is_shared_and_not_the_elements() -> None:
    found = counted("lut", 4, "int2", "int8")
    # Eight entries of three additions and a negation, against two look-ups and two additions.
    assert sum(found.shared.values()) == 32
    assert sum(n for key, n in found.operations.items() if key[0] == "add") == 2
    assert sum(n for key, n in found.operations.items() if key[0] == "look_up") == 2
    assert not any(key[0] in ("pass", "shift") for key in found.operations)


def test_a_full_table_is_outside_of_the_conventional_lut_and_inside_of_unpu() -> None:
    sums = {("add", 8): 6 + 4 + 1, ("add", 9): 4 + 1, ("add", 10): 1}
    read = {("look_up", (11, 16)): 2, ("add", 32): 2}
    outside = counted("lut_conventional", 4, "int2", "int8")
    assert (outside.operations, outside.shared, outside.inside) == (read, sums, {})
    held = counted("unpu", 4, "int2", "int8")
    assert (held.operations, held.shared) == (read, {})
    assert held.inside == {**sums, ("store", 11): 16}


def test_figlut_aligns_and_sums_outside_and_holds_half_a_table() -> None:
    found, aligned = counted("figlut", 4, "int3", "fp16"), counted("figna", 4, "int4", "fp16")
    table = {("add", width): 8 for width in (15, 16, 17, 18)}
    assert found.shared == {**aligned.shared, **table}
    assert found.inside == {("store", 19): 8}
    assert found.operations == {
        ("xor", 3): 3, ("look_up", (19, 8)): 3, ("xor", 19): 3, ("add", 32): 3,
    }  # fmt: skip


def test_a_pass_of_bit_fusion_takes_values_of_its_own() -> None:
    found = counted("bit_fusion", 16, "int8", "int8")
    assert found.streams
    assert found.operations["mul", (3, 3)] == 16 * 16
    assert not counted("unpu", 4, "int8", "int8").streams


def test_fp16_tables_are_shared_and_an_entry_keeps_its_bits() -> None:
    found = counted("lut_fp16", 4, "int3", "fp16")
    # Eight entries of three additions; a pass: a look-up, a sign, an exponent and a sum.
    assert found.shared == {("add", "fp16"): 24}
    assert found.operations == {
        ("look_up", (16, 8)): 3, ("xor", 1): 3, ("scale", "fp16"): 3, ("add", "fp16"): 3,
    }  # fmt: skip
    assert counted("lut_fp16", 8, "int3", "fp16").shared == {("add", "fp16"): 48}


@pytest.mark.parametrize(
    ("form", "block", "factor", "width"),
    [
        # Elements in steps: 12 and a sign, 60, 127; the largest sums of 32 are 4608 to 516128.
        ("mxfp4", 32, 5, 14), ("mxfp6_e2m3", 32, 7, 18), ("mxint8", 32, 8, 20),
    ],
)  # fmt: skip
def test_a_block_of_mx_is_an_integer_sum_no_wider_than_its_largest(
    form: str, block: int, factor: int, width: int
) -> None:
    done = counted("mx_dot", block, form, form).operations
    assert done["mul", (factor, factor)] == block
    sums = {size: n for (name, size), n in done.items() if name == "add" and size != "fp32"}
    # The exponents of both scales, and the place of the leading one.
    assert sums.pop(8) == 1
    assert sum(sums.values()) == block - 1 + 1
    assert max(size for size in sums if isinstance(size, int)) == width
    for operation in ("negate", "leading_one", "round"):
        assert done[operation, width] == 1
    assert done["barrel_shift", (width, width.bit_length())] == 1
    assert done["add", "fp32"] == 1
    assert not any(name == "mul" and size != (factor, factor) for name, size in done)


def test_scales_of_nv_have_significands_that_multiply_the_sum() -> None:
    done = counted("nv_dot", 16, "nvfp4", "nvfp4").operations
    # 16 x 12 x 12 is 2304: 12 bits and a sign; E4M3 has four bits of significand.
    products = {key: n for key, n in done.items() if key[0] == "mul"}
    assert products == {("mul", (5, 5)): 16, ("mul", (4, 4)): 1, ("mul", (13, 8)): 1}
    assert done["add", 4] == 1
    assert (done["leading_one", 21], done["round", 21]) == (1, 1)


@pytest.mark.parametrize(
    ("kernel", "form", "block"), [("mx_dot", "mxfp4", 32), ("nv_dot", "nvint4", 16)]
)
def test_a_part_of_a_block_is_refused(kernel: str, form: str, block: int) -> None:
    with pytest.raises(InputError) as caught:
        counted(kernel, 8, form, form)
    assert str(caught.value) == f"{form}: an element takes a block of {block}, got k 8"


def test_a_scale_takes_a_pass_a_bit_where_the_element_multiplies_by_it() -> None:
    assert scale_passes("bit_mod") == bit_mod.SCALE_BITS == 8
    assert [scale_passes(name) for name in ("lut", "int8_mac", "mx_dot")] == [0, 0, 0]


def test_an_edited_specification_moves_passes_and_operations(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = counted("bit_mod", 4, "bitmod4", "fp16")
    terms_of = bit_mod.terms_of

    def one_more(kind: str, weight: float) -> list[Any]:
        return [*terms_of(kind, weight), bit_mod.ZERO]

    monkeypatch.setattr(bit_mod, "terms_of", one_more)
    element._counted.cache_clear()
    after = counted("bit_mod", 4, "bitmod4", "fp16")
    assert after.passes == before.passes + 1
    assert sum(after.operations.values()) > sum(before.operations.values())


def test_an_edited_look_up_moves_the_pass_of_the_array(monkeypatch: pytest.MonkeyPatch) -> None:
    before = counted("lut", 4, "int2", "int8")
    looked_up = lut.looked_up

    def twice(table: Any, address: int) -> Any:
        looked_up(table, address)
        return looked_up(table, address)

    monkeypatch.setattr(lut, "looked_up", twice)
    element._counted.cache_clear()
    after = counted("lut", 4, "int2", "int8")
    assert sum(after.operations.values()) == sum(before.operations.values()) + 2


def test_an_edited_look_up_moves_the_fp16_element_too(monkeypatch: pytest.MonkeyPatch) -> None:
    before = counted("lut_fp16", 4, "int2", "fp16")
    monkeypatch.setattr(lut, "GROUP", 2)
    element._counted.cache_clear()
    after = counted("lut_fp16", 4, "int2", "fp16")
    assert (before.passes, after.passes) == (2, 4)
    assert after.operations["add", "fp16"] == 2 * before.operations["add", "fp16"]


def test_an_edited_full_table_moves_both_elements(monkeypatch: pytest.MonkeyPatch) -> None:
    def total(done: Work) -> int:
        return sum((done.operations + done.shared + done.inside).values())

    names = ("lut_conventional", "unpu")
    before = [total(counted(name, 4, "int2", "int8")) for name in names]
    monkeypatch.setattr(lut_full, "GROUP", 2)
    element._counted.cache_clear()
    after = [counted(name, 4, "int2", "int8") for name in names]
    # Two tables of two activations: one addition and four entries each, two look-ups a bit.
    assert [done.passes for done in after] == [4, 4]
    assert [total(done) for done in after] == [2 + 8, 2 + 8 + 8]
    assert before == [17 + 4, 17 + 16 + 4]


def test_an_edited_brick_moves_its_element(monkeypatch: pytest.MonkeyPatch) -> None:
    before = counted("bit_fusion", 16, "int4", "int4")
    brick = bit_fusion.brick
    monkeypatch.setattr(bit_fusion, "brick", lambda x, w: (brick(x, w), brick(x, w))[0])
    element._counted.cache_clear()
    after = counted("bit_fusion", 16, "int4", "int4")
    assert after.operations["mul", (3, 3)] == 2 * before.operations["mul", (3, 3)]


def test_an_edited_sum_of_a_block_moves_its_element(monkeypatch: pytest.MonkeyPatch) -> None:
    before = counted("mx_dot", 32, "mxfp4", "mxfp4").operations
    block_sum = element.block_sum
    monkeypatch.setattr(element, "block_sum", lambda x, w: (block_sum(x, w), block_sum(x, w)))
    element._counted.cache_clear()
    after = counted("mx_dot", 32, "mxfp4", "mxfp4").operations
    assert after["mul", (5, 5)] == 2 * before["mul", (5, 5)]


def test_elements_are_of_known_datapaths() -> None:
    assert set(ELEMENTS) <= set(DATAPATHS)


def test_what_is_not_counted_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        counted("lutt", 4, "int2", "int8")
    assert str(caught.value).startswith("unknown element 'lutt'; did you mean 'lut'?")
