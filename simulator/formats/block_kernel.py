"""The conversion of float32 to OCP Microscaling blocks of 32, compiled by Numba.

One pass finds the largest bits of a block, which are its largest magnitude; the shared exponent
moves the bias of the elements, so that no value is ever multiplied. Elements round half to even on
the grid of codes and saturate. Equal to `BlockFormat.encode_one` on every block (tests). Not here:
other roundings, sizes and scales, which the array path has.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import types
from numba.extending import intrinsic, register_jitable
from numpy.typing import NDArray

from simulator.formats.minifloat import Floats
from simulator.kernels import compiled

if TYPE_CHECKING:
    from simulator.formats.block import BlockFormat

BLOCK = 32
SIZE, INFINITE = np.int32(0x7FFFFFFF), np.int32(0x7F800000)
HIDDEN, MANTISSA = np.int32(1 << 23), np.int32((1 << 23) - 1)
ZERO, ONE, FRACTION = np.int32(0), np.int32(1), np.int32(23)
#: More than a mantissa has: everything falls out, less than half of a step.
FAR = np.int32(26)
LIFT, LIFT_BITS = np.float32(2.0**64), np.int32(64)
NAN_SCALE = np.uint8(255)


def _left(_typing: Any, word: Any, count: Any) -> Any:
    """Shift an int32 left; Numba's own shift works on 64 bits."""
    return types.int32(types.int32, types.int32), lambda _c, builder, _s, args: builder.shl(*args)


def _right(_typing: Any, word: Any, count: Any) -> Any:
    """Shift an int32 right, with its sign; Numba's own shift works on 64 bits."""
    return types.int32(types.int32, types.int32), lambda _c, builder, _s, args: builder.ashr(*args)


left: Any = intrinsic(_left)
right: Any = intrinsic(_right)


def _element_code(
    word: np.int32,
    shared: np.int32,
    mantissa_bits: np.int32,
    largest: np.int32,
    sign_shift: np.int32,
) -> np.uint8:
    """Return the code of the bits of a float32; shared: what turns its exponent field into its own.

    Every step is cast to int32: left to itself Numba widens to 64 bits and half the lanes are lost.
    """
    size = np.int32(word & SIZE)
    own = right(size, FRACTION)
    mantissa = np.int32((size & MANTISSA) | (HIDDEN if own > ZERO else ZERO))
    # The exponent field of the element, at most 0 where it is subnormal.
    place = np.int32(max(own, ONE) + shared)
    normal = max(place, ONE)
    drop = np.int32(min(np.int32(np.int32(FRACTION - mantissa_bits) + normal - place), FAR))
    # Ties go to even: half a step less one, and one if what is kept is odd.
    odd = np.int32(right(mantissa, drop) & ONE)
    half = right(SIZE, np.int32(np.int32(32) - drop))
    nearest = right(np.int32(mantissa + half + odd), drop)
    code = np.int32(left(np.int32(normal - ONE), mantissa_bits) + nearest)
    sign = np.int32(right(word, sign_shift) & left(ONE, np.int32(np.int32(31) - sign_shift)))
    return np.uint8(np.int32(min(code, largest)) | sign)


element_code: Any = register_jitable(_element_code)


@compiled()
def encode_all(
    bits: NDArray[np.int32],
    values: NDArray[np.float32],
    lifted_bits: NDArray[np.int32],
    lifted: NDArray[np.float32],
    codes: NDArray[np.uint8],
    scales: NDArray[np.uint8],
    mantissa_bits: np.int32,
    bias: np.int32,
    largest: np.int32,
    sign_shift: np.int32,
    emax: np.int32,
    length: int,
) -> None:
    """Fill codes and scales (one for each block) from the bits of float32, whole blocks in a row.

    bits and values, lifted_bits and lifted (of one block, to work in): the same memory as two
    dtypes. sign_shift: how far right the sign moves from bit 31; length: BLOCK again, but not known
    to the compiler, which makes vectors of a loop over it and scalars of 32 known steps to a
    maximum.
    """
    for block in range(scales.size):
        start = block * BLOCK
        top = ZERO
        chunk = bits[start : start + length]
        for i in range(chunk.size):
            top = max(top, np.int32(chunk[i] & SIZE))
        if top >= INFINITE:
            scales[block] = NAN_SCALE
            for i in range(start, start + BLOCK):
                codes[i] = np.uint8(0)
            continue
        # A subnormal's exponent is at most 0: its scale is the smallest in any format.
        scale = np.int32(max(np.int32(right(top, FRACTION) - emax), ZERO))
        scales[block] = np.uint8(scale)
        shared = np.int32(bias - scale)
        if shared > ZERO:
            # Subnormals may become normal elements: 64 binades up they have their hidden bit.
            for i in range(BLOCK):
                lifted[i] = values[start + i] * LIFT
            shared = np.int32(shared - LIFT_BITS)
            for i in range(BLOCK):
                word = lifted_bits[i]
                codes[start + i] = element_code(word, shared, mantissa_bits, largest, sign_shift)
            continue
        for i in range(start, start + BLOCK):
            codes[i] = element_code(bits[i], shared, mantissa_bits, largest, sign_shift)


def encode_blocks(
    form: "BlockFormat", values: Floats
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the codes and the scale codes of float32 values (..., n) in an MX float format."""
    element: Any = form.element
    length = values.shape[-1]
    rest = -length % BLOCK
    if rest:
        # Zeros change neither the maximum nor each other.
        values = np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, rest)])
    shape = (*values.shape[:-1], values.shape[-1] // BLOCK)
    codes = np.empty(values.shape, dtype=np.uint8)
    scales = np.empty(shape, dtype=np.uint8)
    row, lifted = np.ascontiguousarray(values).reshape(-1), np.empty(BLOCK, dtype=np.float32)
    encode_all(
        row.view(np.int32),
        row,
        lifted.view(np.int32),
        lifted,
        codes.reshape(-1),
        scales.reshape(-1),
        np.int32(element.mantissa_bits),
        np.int32(element.bias),
        np.int32(element.largest),
        np.int32(32 - element.bits),
        np.int32(form.emax),
        BLOCK,
    )
    return np.ascontiguousarray(codes[..., :length]), scales
