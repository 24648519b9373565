"""What a processing element does, counted: its specification run on counting operands.

An element forms the dot product of k values for one output. `work` runs the specification of its
datapath once, on operands as wide as their formats, and returns what the tally says: passes (one
where the specification notes none), and operations with their widths. Nothing is typed in beside a
specification: who edits it moves cycles and costs with it.

Shared is what several outputs use and the element does not do: tables of sums of activations
(`lut`, `lut_conventional`, `lut_fp16`, `figlut`, `shift_add_llm`), the alignment of activations
(`figna`, `figlut`). Inside is what an element does once for all of its outputs: sums and registers
of a table (`unpu`), registers alone (`figlut`). A scale that the element multiplies by itself, bit
by bit, is counted apart (`scale_passes`).

Elements of block formats (`mx_dot`, `nv_dot`) take a block at a time, as integers in steps of the
format: FP8's are 19 bits and more, which real units avoid. Their scaling and rounding, which the
specification does in fractions, and the FP16 operations of a pass of `lut_fp16` are composed here.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import numpy as np

from simulator.config import unknown
from simulator.errors import InputError
from simulator.formats import Format
from simulator.formats.binary_coded import TERMS, BinaryCoded
from simulator.formats.block import BLOCK_FORMATS, BlockFormat
from simulator.formats.presets import BF16
from simulator.formats.rounding import Rounding
from simulator.numerics import bit_mod, figlut, lut, lut_full, shift_add_llm
from simulator.numerics.added_patterns import AddedPatterns, axcore, l_mul
from simulator.numerics.bit_fusion import dot_fused_bricks
from simulator.numerics.bit_serial import dot_bipolar, dot_planes, ternary_product
from simulator.numerics.block_dot import block_sum, step_of, sum_bits
from simulator.numerics.decoded_paths import (
    Parts,
    dot_parts,
    dot_two_level,
    olive_part,
    scaled_weight,
    shifted_part,
)
from simulator.numerics.own import arithmetic, is_own
from simulator.numerics.pre_aligned import align, dot_integers
from simulator.numerics.shift_add import product_w4a8
from simulator.numerics.shift_add_fp16 import dot_group
from simulator.numerics.widening import high_nibble
from simulator.numerics.word import (
    Number,
    Real,
    Size,
    Tally,
    Word,
    bits_of,
    looked_up,
    magnitude,
    masked,
    nearest_even,
)

Operations = Counter[tuple[str, Size | str | None]]
Run = Callable[[Tally, int, Format, Format], None]
#: What enters elements: of all k values.
Entering = Sequence[Number | Real]
Edge = Callable[[Tally, int, Format, Format], Entering | None]

#: Bits of a sum over K in an integer element, FIGNA's integers with a sign.
SUM_BITS, ALIGNED_BITS = 32, 15
#: Bits of a significand of FP16.
FP16_SIGNIFICAND = 11
#: Bits of the integers, without a sign, that BitMoD's FP4 and FP3 are in steps of their lowest one.
MAGNITUDE_BITS = {"fp4": 5, "fp3": 3}


@dataclass(frozen=True)
class Element:
    """How the datapath of an element is counted.

    run: the dot product of one output. shared: the part of that which outputs share; what it
    returns enters elements in place of activations. inside: the part that the outputs of one
    element share, and that is done in it. scale: the product with the scale of a group, where the
    element does it. streams: a pass takes values of its own, where others take bits of all k.
    decoded: what is done once for each weight that enters a column, and returns it.
    corrections: terms to take off the sum by others, as codes stand for 2 w + 1, or both operands.
    scales: whether what is decoded has the scales of groups in it.
    """

    run: Run
    shared: Edge | None = None
    scale: Callable[[Tally], None] | None = None
    inside: Edge | None = None
    streams: bool = False
    decoded: Edge | None = None
    corrections: int = 0
    scales: Callable[[Format], bool] = lambda _weights: False


@dataclass(frozen=True)
class Work:
    """Of one output and k values: passes, operations of the element, operations that are shared.

    inside: operations of the element that its outputs share. streams: as `Element` has it. decoded:
    operations on weights that a column shares. weight_bits, activation_bits: of all k values as
    they enter the element. scale: operations, and passes, of a product with the scale of a group.
    """

    passes: int
    operations: Operations = field(hash=False)
    shared: Operations = field(hash=False)
    inside: Operations = field(default_factory=Counter, hash=False)
    streams: bool = False
    decoded: Operations = field(default_factory=Counter, hash=False)
    weight_bits: int = 0
    activation_bits: int = 0
    scale: Operations = field(default_factory=Counter, hash=False)
    scale_passes: int = 0


def work(kernel: str, k: int, weights: Format, activations: Format) -> Work:
    """Return what the element of a datapath does for one output's dot product of k values.

    Errors: InputError for a datapath whose element is not counted, or k that its specification does
    not take at a time.
    """
    return _counted(kernel, k, weights, activations)


def scale_passes(kernel: str) -> int:
    """Return the passes in which an element multiplies by a group's scale, 0 if it does not."""
    element = ELEMENTS.get(kernel)
    return 0 if element is None else _of_scale(element)[0]


def _of_scale(element: Element) -> tuple[int, Operations]:
    """Return passes and operations of a product with a scale."""
    tally = Tally()
    if element.scale is not None:
        element.scale(tally)
    return tally.counts["pass"], _hardware(Counter(tally.operations()))


@lru_cache(maxsize=256)
def _counted(kernel: str, k: int, weights: Format, activations: Format) -> Work:
    element = _element(kernel)
    runs: tuple[Edge | Run | None, ...] = (
        element.run, element.shared, element.inside, element.decoded
    )  # fmt: skip
    tallies = [Tally() for _ in runs]
    entering = [
        None if run is None else run(tally, k, weights, activations)
        for run, tally in zip(runs, tallies, strict=True)
    ]
    whole, shared, inside, decoded = (Counter(each.operations()) for each in tallies)
    scale_passes, scale = _of_scale(element)
    return Work(
        max(1, tallies[0].counts["pass"]),
        _hardware(whole - shared - inside - decoded),
        shared,
        inside,
        element.streams,
        decoded,
        weight_bits=_bits_of(entering[3], k, weights),
        activation_bits=_bits_of(entering[1], k, activations),
        scale=scale,
        scale_passes=scale_passes,
    )


def _hardware(done: Operations) -> Operations:
    """Return operations that an element needs hardware for: passes and wires need none."""
    own: Operations = Counter()
    for (operation, size), count in done.items():
        if operation not in ("pass", "shift"):
            own[operation, _in_accumulator(operation, size)] += count
    return own


def _bits_of(entering: Entering | None, k: int, form: Format) -> int:
    """Return the bits in which k values enter an element: as codes, unless the edge made others."""
    if entering is None:
        return k * _bits(form)
    return sum(
        8 * each.value.nbytes if isinstance(each, Real) else bits_of(each) for each in entering
    )


def _in_accumulator(operation: str, size: Size | str | None) -> Size | str | None:
    """Return the width of an operation: sums do not grow beyond the accumulator."""
    return min(size, SUM_BITS) if operation == "add" and isinstance(size, int) else size


def _element(kernel: str) -> Element:
    if is_own(kernel):
        return Element(_own(kernel))
    if kernel not in ELEMENTS:
        raise InputError(unknown("element", kernel, ELEMENTS))
    return ELEMENTS[kernel]


def _bits(form: Format) -> int:
    return -(-form.value_bits.numerator // form.value_bits.denominator)


def _widest(bits: int) -> int:
    """Return the integer of two's complement that takes all bits and has the largest magnitude."""
    return -(1 << bits - 1)


def _words(tally: Tally, count: int, form: Format) -> list[Word]:
    bits = _bits(form)
    return [tally.word(_widest(bits), bits) for _ in range(count)]


def _partial(tally: Tally) -> Word:
    """Return the partial sum that an element adds to."""
    return tally.word(0, SUM_BITS)


def _accumulated(tally: Tally, products: Sequence[Word]) -> None:
    total = _partial(tally)
    for product in products:
        # The accumulator has so many bits: a sum does not grow.
        total = tally.word(int(total + product) % (1 << SUM_BITS - 1), SUM_BITS)


def _integer_mac(tally: Tally, k: int, weights: Format, activations: Format) -> None:
    pairs = zip(_words(tally, k, activations), _words(tally, k, weights), strict=True)
    _accumulated(tally, [x * w for x, w in pairs])


def _float_mac(tally: Tally, k: int, weights: Format, activations: Format) -> None:
    """Products are exact in FP32: `mac_paths`."""
    wider = max(weights, activations, key=lambda form: form.value_bits).base
    for _ in range(k):
        product = tally.real(1.5).done(f"mul {wider}", 1.5)
        (product + 1.0).rounded("fp32", 2.5)


def _dequantiser(tally: Tally, k: int, weights: Format, activations: Format) -> Entering | None:
    """Integers times the significand of their scale, rounded to FP16; floats are as they come."""
    if weights.kind == "float":
        return None
    for code in _words(tally, k, weights):
        _to_float(code * tally.word(1, FP16_SIGNIFICAND), tally.word(0, 5))
    return [tally.real(np.float16(1))] * k


def _dequantised_mac(tally: Tally, k: int, weights: Format, activations: Format) -> None:
    _dequantiser(tally, k, weights, activations)
    _float_mac(tally, k, weights, activations)


def _comet(tally: Tally, k: int, weights: Format, activations: Format) -> None:
    bytes_ = _comet_bytes(tally, k, weights, activations)
    pairs = zip(_words(tally, k, activations), bytes_, strict=True)
    _accumulated(tally, [x * w for x, w in pairs])


def _comet_bytes(tally: Tally, k: int, weights: Format, activations: Format) -> list[Number]:
    """Codes moved to the upper halves of bytes: wires."""
    return [tally.word(int(high_nibble(_widest(_bits(weights)))), 8) for _ in range(k)]


def _own(kernel: str) -> Run:
    """The specification of a user's file, which adds to the partial sum itself."""

    def run(tally: Tally, k: int, weights: Format, activations: Format) -> None:
        x: list[Any] = list(_words(tally, k, activations))
        total: Word | Real = _partial(tally)
        if activations.kind == "float":
            x, total = [tally.real(np.float16(1.5))] * k, tally.real(np.float32(0))
        bits = _bits(activations), _bits(weights)
        arithmetic(kernel).counted(x, _words(tally, k, weights), total, bits)

    return run


def _mixpe_w4a8(tally: Tally, k: int, weights: Format, activations: Format) -> None:
    products = [product_w4a8(-8, x) for x in _words(tally, k, activations)]
    _accumulated(tally, [each for each in products if isinstance(each, Word)])


def _mixpe(chain: bool) -> Run:
    def run(tally: Tally, k: int, weights: Format, activations: Format) -> None:
        dot_group([tally.real(1.5)] * k, [-8] * k, chain=chain, accumulator="fp32")

    return run


def _lut(tally: Tally, k: int, weights: Format, activations: Format) -> None:
    lut.dot_lut(list(_words(tally, k, activations)), [0] * k, _bits(weights), _partial(tally))


def _lut_tables(tally: Tally, k: int, weights: Format, activations: Format) -> list[Number]:
    words = list(_words(tally, k, activations))
    tables = [lut.half_table(list(words[at : at + lut.GROUP])) for at in range(0, k, lut.GROUP)]
    return [entry for table in tables for entry in table]


def _full_lut(table: lut_full.Table) -> Run:
    def run(tally: Tally, k: int, weights: Format, activations: Format) -> None:
        words = _words(tally, k, activations)
        lut_full.dot_full(words, [0] * k, _bits(weights), _partial(tally), table)

    return run


def _full_tables(table: lut_full.Table) -> Edge:
    def run(tally: Tally, k: int, weights: Format, activations: Format) -> list[Number]:
        tables = lut_full.tables_of(_words(tally, k, activations), table)
        return [entry for each in tables for entry in each]

    return run


def _lut_fp16(tally: Tally, k: int, weights: Format, activations: Format) -> None:
    """A pass of `dot_lut`, in FP16: an entry looked up, its sign and exponent changed, the sum."""
    _lut_fp16_tables(tally, k, weights, activations)
    planes = Tally()
    _lut(planes, k, weights, activations)
    for _ in range(planes.counts["pass"]):
        looked_up([tally.word(0, _bits(activations))] * lut.ENTRIES, 0)
        tally.word(0, 1) ^ tally.word(0, 1)
        entry = tally.real(np.float16(1)).done("scale fp16", np.float16(1))
        tally.real(np.float16(1)) + entry
        tally.counts["pass"] += 1


def _lut_fp16_tables(tally: Tally, k: int, weights: Format, activations: Format) -> list[Any]:
    entries = list[Any]()
    for _ in range(0, k, lut.GROUP):
        values: list[Any] = [tally.real(np.float16(1))] * lut.GROUP
        entries += lut.half_table(values)
    return entries


def _bit_mod(tally: Tally, k: int, weights: Format, activations: Format) -> None:
    """A cycle a term: exponents added, a mask a lane, alignment and sum, the FP32 accumulator."""
    _bit_mod_terms(tally, k, weights, activations)
    for term in bit_mod.terms_of(_bit_mod_kind(weights), 1):
        lanes = []
        for _ in range(k):
            exponent = tally.word(0, 5) + tally.word(0, 2)
            lanes.append((0, masked(tally.word(0, 11), term.man), exponent))
        bit_mod.lane_sum(lanes)
        (tally.real(0.0) + 1.0).rounded("fp32", 1.0)
        tally.counts["pass"] += 1


def _bit_mod_kind(weights: Format) -> str:
    return {"bitmod3": "fp3", "bitmod4": "fp4"}.get(weights.base, weights.base)


def _bit_mod_terms(tally: Tally, k: int, weights: Format, activations: Format) -> None:
    """The encoder: Booth digits of integers, leading ones of the integers that FP3 and FP4 are."""
    kind = _bit_mod_kind(weights)
    for _ in range(k):
        if kind in MAGNITUDE_BITS:
            bit_mod.leading_one_terms(tally.word(1, MAGNITUDE_BITS[kind]))
        else:
            bit_mod.booth_terms(tally.word(1, _bits(weights)), bit_mod.TERMS[kind])


def _planes(dot: Callable[..., int]) -> Run:
    def run(tally: Tally, k: int, weights: Format, activations: Format) -> None:
        x, w = ([tally.word(0, _bits(form))] * k for form in (activations, weights))
        dot(x, w, _bits(activations), _bits(weights), _partial(tally))

    return run


def _ternary(tally: Tally, k: int, weights: Format, activations: Format) -> None:
    products = [ternary_product(1, x) for x in _words(tally, k, activations)]
    _accumulated(tally, [each for each in products if isinstance(each, Word)])


def _figna_aligned(tally: Tally, k: int, weights: Format, activations: Format) -> list[Word]:
    """Each of k activations more is compared with the largest exponent, and shifted to it."""
    more, one = Tally(), Tally()
    for own, count in ((more, k + 1), (one, 1)):
        align([own.word(0, 16)] * count, ALIGNED_BITS - 1, Rounding.TOWARD_ZERO)
    tally.counts.update(more.counts - one.counts)
    tally.sizes.update(more.sizes - one.sizes)
    return _aligned(tally, k)


def _aligned(tally: Tally, k: int) -> list[Word]:
    return [tally.word(_widest(ALIGNED_BITS), ALIGNED_BITS) for _ in range(k)]


def _figna(tally: Tally, k: int, weights: Format, activations: Format) -> None:
    aligned = _aligned(tally, k)
    dot_integers(aligned, [int(w) for w in _words(tally, k, weights)], _partial(tally))


def _figna_with_alignment(tally: Tally, k: int, weights: Format, activations: Format) -> None:
    _figna_aligned(tally, k, weights, activations)
    _figna(tally, k, weights, activations)


def _figlut(tally: Tally, k: int, weights: Format, activations: Format) -> None:
    aligned = _aligned(tally, k)
    figlut.dot_tables(aligned, [0] * k, _bits(weights), _partial(tally))


def _figlut_with_alignment(tally: Tally, k: int, weights: Format, activations: Format) -> None:
    _figna_aligned(tally, k, weights, activations)
    _figlut(tally, k, weights, activations)


def _figlut_generator(tally: Tally, k: int, weights: Format, activations: Format) -> Entering:
    """Tables, whose flip-flops in elements are counted (`store`): no register holds them too."""
    aligned = _figna_aligned(tally, k, weights, activations)
    for start in range(0, k, lut.GROUP):
        lut.half_table(list(aligned[start : start + lut.GROUP]))
    return ()


def _figlut_flip_flops(tally: Tally, k: int, weights: Format, activations: Format) -> None:
    whole = Tally()
    _figlut(whole, k, weights, activations)
    for (operation, size), count in whole.sizes.items():
        if operation == "store":
            tally.counts[operation] += count
            tally.sizes[operation, size] += count


def _bit_fusion(tally: Tally, k: int, weights: Format, activations: Format) -> None:
    x, w = (_words(tally, k, form) for form in (activations, weights))
    dot_fused_bricks(x, w, _bits(activations), _bits(weights), _partial(tally))


def _added(multiplier: AddedPatterns) -> Run:
    def run(tally: Tally, k: int, weights: Format, activations: Format) -> None:
        for _ in range(k):
            x, w = (tally.word(0, _bits(form) - 1) for form in (activations, weights))
            # The exclusive or of the signs, and the sum in FP32.
            tally.word(0, 1) ^ tally.word(0, 1)
            multiplier.sum_of(x, w)
            (tally.real(1.0).done("round fp32", 1.0) + 1.0).rounded("fp32", 2.0)

    return run


def _shift_add_llm(size: int) -> Run:
    """FP16 activations, binary code or integers in it (`coded_paths`); sums are in FP32."""

    def run(tally: Tally, k: int, weights: Format, activations: Format) -> None:
        planes, terms = (_bits(weights), TERMS) if weights.kind == "binary" else (0, 1)
        # An integer has a plane more.
        planes = planes or _bits(weights) + 1
        signs = np.zeros((1, planes, -(-k // 8)), np.uint8)
        coded = BinaryCoded(np.full((1, planes), float(terms)), signs, k)
        ones, start = [tally.real(np.float32(1))] * k, tally.real(np.float32(0))
        powers = np.ones((1, planes, terms))
        shift_add_llm.dot_floats(ones, coded, [0], powers, start, size)

    return run


def _shift_add_tables(size: int) -> Edge:
    def run(tally: Tally, k: int, weights: Format, activations: Format) -> list[Any]:
        ones: list[Any] = [tally.real(np.float32(1))] * k
        tables = [shift_add_llm.table_of(ones[at : at + size]) for at in range(0, k, size)]
        return [entry for table in tables for entry in table]

    return run


def _olive_part(form: Format, code: Word) -> tuple[Number, Number]:
    return olive_part(form, code, code)


def _decoded(part: Callable[[Format, Word], tuple[Number, Number]]) -> Element:
    """Return an element that multiplies what decoders at both edges of the array hand on."""

    def parts(tally: Tally, k: int, form: Format) -> Parts:
        return [part(form, tally.word(1, _bits(form))) for _ in range(k)]

    def run(tally: Tally, k: int, weights: Format, activations: Format) -> None:
        x, w = (parts(tally, k, form) for form in (activations, weights))
        dot_parts(x, w, _partial(tally))

    def left(tally: Tally, k: int, weights: Format, activations: Format) -> list[Number]:
        return [each for pair in parts(tally, k, activations) for each in pair]

    def right(tally: Tally, k: int, weights: Format, activations: Format) -> list[Number]:
        return [each for pair in parts(tally, k, weights) for each in pair]

    return Element(run, shared=left, decoded=right)


def _two_level(tally: Tally, k: int, weights: Format, activations: Format) -> None:
    """An integer MAC behind a weight's decoder."""
    dot_two_level(
        _words(tally, k, activations), _scaled_weights(tally, k, weights), _partial(tally)
    )


def _two_level_decoder(tally: Tally, k: int, weights: Format, activations: Format) -> list[Number]:
    return _scaled_weights(tally, k, weights)


def _scaled_weights(tally: Tally, k: int, form: Format) -> list[Number]:
    """QServe's zero point has the bits of a weight, its scale 8."""
    zero, scale = tally.word(1, _bits(form)), tally.word(1, 8)
    return [scaled_weight(w, zero, scale) for w in _words(tally, k, form)]


def _block_dot(tally: Tally, k: int, weights: Format, activations: Format) -> None:
    """A block's integers exactly, both scales, the sum rounded to FP32, the FP32 accumulator.

    The scale of a tensor is the epilogue's.
    """
    forms = [BLOCK_FORMATS[form.base] for form in (activations, weights)]
    block, scale = forms[0].block, forms[0].scale
    if k != block:
        raise InputError(f"{activations.base}: an element takes a block of {block}, got k {k}")
    width = sum_bits(*forms) + 1
    _block_sum(tally, forms, width)
    total: Number = tally.word(0, width)
    # Exponents of both scales; significands, where they have one, multiply the exact sum.
    exponent = tally.word(0, scale.exponent_bits) + tally.word(0, scale.exponent_bits)
    if scale.mantissa_bits:
        significands = [tally.word(0, scale.mantissa_bits + 1) for _ in forms]
        total = total * (significands[0] * significands[1])
    _to_float(total, exponent)
    (tally.real(0.0) + 1.0).rounded("fp32", 1.0)


def _block_sum(tally: Tally, forms: Sequence[BlockFormat], width: int) -> None:
    """Count the exact sum of a block: no addition is wider than its largest sum."""
    own, block = Tally(), forms[0].block
    bits = [int(form.largest / float(step_of(form))).bit_length() + 1 for form in forms]
    block_sum([own.word(_widest(bits[0]), bits[0])] * block, [_widest(bits[1])] * block)
    for (operation, size), count in own.sizes.items():
        kept = min(size, width) if isinstance(size, int) else size
        tally.sizes[operation, kept] += count
        tally.counts[operation] += count


def _to_float(total: Number, exponent: Word) -> None:
    """Round an exact sum to FP32: its leading one is found, shifted to, and added as a place."""
    size = magnitude(total)
    place = size.bit_length()
    nearest_even(size, place)
    exponent + place


def _scaled(tally: Tally) -> None:
    bit_mod.product_of_scale(tally.word(0, SUM_BITS), 0)


def _always(_weights: Format) -> bool:
    return True


def _has_two(weights: Format) -> bool:
    return weights.outer != "none"


ELEMENTS: MappingProxyType[str, Element] = MappingProxyType(
    {
        "int8_mac": Element(_integer_mac),
        "dequantise": Element(_dequantised_mac, decoded=_dequantiser, scales=_always),
        "comet": Element(_comet, decoded=_comet_bytes),
        "bf16_mac": Element(_float_mac),
        "mixpe_w4a8": Element(_mixpe_w4a8),
        "mixpe": Element(_mixpe(chain=False)),
        "mixpe_chain": Element(_mixpe(chain=True)),
        "lut": Element(_lut, shared=_lut_tables, corrections=1),
        "lut_conventional": Element(
            _full_lut(lut_full.full_table), shared=_full_tables(lut_full.full_table)
        ),
        "unpu": Element(_full_lut(lut_full.held_table), inside=_full_tables(lut_full.held_table)),
        "figlut": Element(
            _figlut_with_alignment,
            shared=_figlut_generator,
            inside=_figlut_flip_flops,
            corrections=1,
        ),
        "bit_fusion": Element(_bit_fusion, streams=True),
        "lut_fp16": Element(_lut_fp16, shared=_lut_fp16_tables, corrections=1),
        "mx_dot": Element(_block_dot),
        "nv_dot": Element(_block_dot),
        "bit_mod": Element(_bit_mod, scale=_scaled, decoded=_bit_mod_terms),
        "abq": Element(_planes(dot_planes)),
        "bipolar": Element(_planes(dot_bipolar), corrections=2),
        "ternary": Element(_ternary),
        "figna": Element(_figna_with_alignment, shared=_figna_aligned),
        "l_mul": Element(_added(l_mul(BF16))),
        "axcore": Element(_added(axcore())),
        "shift_add_llm": Element(_shift_add_llm(8), shared=_shift_add_tables(8)),
        "shift_add_llm_4": Element(_shift_add_llm(4), shared=_shift_add_tables(4)),
        "ant": _decoded(shifted_part),
        "olive": _decoded(_olive_part),
        "two_level": Element(_two_level, decoded=_two_level_decoder, scales=_has_two),
    }
)
