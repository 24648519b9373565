"""Do the three softmaxes give what they state, in the order and within the bound they state?"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.errors import InputError
from simulator.numerics.softmax import (
    EMPTY,
    Method,
    extended_exp,
    merge_states,
    merged,
    relative_bound,
    softmax,
    softmax_online,
    softmax_three_pass,
    softmax_two_pass,
    state_of,
    states_of,
)

BLOCKS = (1, 7, 64, 1000)
VARIANTS: list[tuple[Method, int | None]] = [
    (Method.THREE_PASS, None),
    (Method.TWO_PASS, None),
    *((Method.ONLINE, block) for block in BLOCKS),
]
INF = float("inf")


def specification(row: list[float], method: Method, block: int | None) -> list[float]:
    """Return the softmax of one row by the specification of a method."""
    match method:
        case Method.THREE_PASS:
            return softmax_three_pass(row)
        case Method.TWO_PASS:
            return softmax_two_pass(row)
        case Method.ONLINE:
            assert block is not None
            return softmax_online(row, block)


def exact(x: np.ndarray) -> np.ndarray:
    """Return the softmax in float64, of finite rows."""
    wide = x.astype(np.float64)
    parts = np.exp(wide - wide.max(axis=-1, keepdims=True))
    return np.asarray(parts / parts.sum(axis=-1, keepdims=True))


def rows(count: int, length: int, seed: int) -> np.ndarray:
    """Return rows of different spreads and offsets, the last ones rising and falling."""
    random = np.random.default_rng(seed)
    x = random.standard_normal((count, length)) * np.geomspace(0.01, 40, count)[:, None]
    x += random.uniform(-200, 200, (count, 1))
    x[-1].sort()
    x[-2] = -np.sort(-x[-2])
    return x.astype(np.float32)


def same(found: np.ndarray, expected: list[list[float]]) -> bool:
    """Tell whether all bits are the same (any NaN is like any other)."""
    reference = np.array(expected, np.float32).reshape(found.shape)
    signs = np.signbit(found) == np.signbit(reference)
    equal = (found == reference) & signs | np.isnan(found) & np.isnan(reference)
    return found.dtype == np.float32 and bool(equal.all())


@pytest.mark.parametrize(("method", "block"), VARIANTS)
def test_arrays_equal_the_specification(method: Method, block: int | None) -> None:
    """3,600 outputs of rows of 300 values, offsets of some hundreds among them."""
    x = rows(12, 300, 1)
    found = softmax(x, method, block)
    assert same(found, [specification(row, method, block) for row in x.tolist()])


@pytest.mark.parametrize(("method", "block"), VARIANTS)
@pytest.mark.parametrize("length", [1, 2, 63, 64, 65, 1024])
def test_outputs_are_within_the_bound_of_float64(
    method: Method, block: int | None, length: int
) -> None:
    x = rows(8, length, length)
    found, reference = softmax(x, method, block), exact(x)
    bound = relative_bound(length, method, block or 1)
    assert (abs(found - reference) <= bound * reference + 2.0**-149).all()
    assert (abs(found.astype(np.float64).sum(axis=-1) - 1) <= bound + length * 2.0**-149).all()


@pytest.mark.parametrize("length", [5, 512])
def test_online_results_do_not_depend_on_the_block_beyond_the_bound(length: int) -> None:
    x = rows(8, length, 3)
    reference = exact(x)
    for one in BLOCKS:
        for other in BLOCKS:
            bound = sum(relative_bound(length, Method.ONLINE, block) for block in (one, other))
            difference = softmax(x, "online", one) - softmax(x, "online", other).astype(np.float64)
            assert (abs(difference) <= bound * reference + 2.0**-148).all()


def test_the_bound_is_as_stated() -> None:
    unit = 2.0**-24
    assert relative_bound(1000, Method.THREE_PASS) == 1128 * unit
    assert relative_bound(1000, Method.TWO_PASS) == 1128 * unit
    assert relative_bound(1000, Method.ONLINE, 1) == (1 + 4000 + 128) * unit
    assert relative_bound(1000, Method.ONLINE, 64) == (64 + 64 + 128) * unit
    assert relative_bound(10, Method.ONLINE, 64) == (10 + 4 + 128) * unit


def test_one_block_is_the_three_pass_softmax() -> None:
    x = rows(6, 100, 4)
    assert (softmax(x, "online", 100) == softmax(x, "three_pass")).all()


def test_blocks_of_one_are_the_published_recurrence() -> None:
    """m' = max(m, x); d' = d exp(m - m') + exp(x - m'), in float32 (Milakov and Gimelshein)."""
    for row in rows(6, 50, 5):
        m, d = np.float32(-np.inf), np.float32(0)
        for x in row:
            new = max(m, x)
            scale, part = (np.float32(np.exp(np.float64(v - new))) for v in (m, x))
            m, d = new, d * scale + part
        expected = [np.float32(np.exp(np.float64(x - m))) / d for x in row]
        assert softmax(row, "online", 1).tolist() == [float(y) for y in expected]


def test_sums_are_added_in_the_order_of_the_row() -> None:
    """One and 2^-24 (a tie to even, lost) many times; the other way round nothing is lost."""
    tiny = np.float32(np.log(2.0**-24) - 1e-6)
    falling = np.array([0.0] + [tiny] * 4096, np.float32)
    assert states_of(falling)[1] == 1.0
    assert states_of(falling[::-1])[1] == np.float32(1 + 2**-12)
    assert state_of(falling.tolist())[1] == 1.0


@pytest.mark.parametrize(("method", "block"), VARIANTS)
@pytest.mark.parametrize(
    "row",
    [
        [-INF, 1.0, -INF, 2.0], [1.0, -INF], [-INF, 0.0], [-INF, -INF, -INF], [-INF], [],
        [0.0, float("nan"), 1.0], [float("nan"), -INF], [INF, 0.0], [INF, INF], [-INF, INF],
        [3e38, -3e38, 3e38], [-3e38, -3e38], [3.4e38, 3.39e38], [1e10, 1e10, 9.9e9], [-0.0, 0.0],
        [0.0, -103.0, -104.5], [-INF, -1000.0, -1103.0], [88.8, 0.0, 200.0],
    ],
)  # fmt: skip
def test_special_rows_equal_the_specification(
    method: Method, block: int | None, row: list[float]
) -> None:
    x = np.array(row, np.float32)
    found = softmax(x, method, block)
    assert found.shape == x.shape
    assert same(found, [specification(x.tolist(), method, block)])
    if np.isnan(x).any() or (x == INF).any():
        assert np.isnan(found).all()
    else:
        assert (found[x == -INF] == 0).all()
        kept = x[x > -INF]
        bound = relative_bound(len(row), method, block or 1)
        if kept.size:
            error = abs(found[x > -INF] - exact(kept))
            assert (error <= bound * exact(kept) + 2.0**-149).all()


def test_masked_rows_stand_beside_others() -> None:
    """No row reaches into another: one masked, one NaN, one plain."""
    x = np.array([[-INF, -INF], [np.nan, 0.0], [0.0, 0.0], [0.0, -INF]], np.float32)
    for method, block in VARIANTS:
        found = softmax(x, method, block)
        assert found[0].tolist() == [0, 0]
        assert np.isnan(found[1]).all()
        assert found[2:].tolist() == [[0.5, 0.5], [1, 0]]


@pytest.mark.parametrize(("method", "block"), VARIANTS)
@pytest.mark.parametrize("shape", [(0, 4), (3, 0), (0,), (2, 3, 5)])
def test_any_shape(method: Method, block: int | None, shape: tuple[int, ...]) -> None:
    x = np.linspace(-3, 3, int(np.prod(shape))).reshape(shape).astype(np.float32)
    found = softmax(x, method, block)
    assert found.shape == shape
    flat = x.reshape(-1, shape[-1]) if shape[-1] else x.reshape(0, 1)
    assert same(found, [specification(row, method, block) for row in flat.tolist()])


FLOATS = st.floats(-100, 100, width=32)


@given(st.lists(FLOATS, max_size=20), st.lists(FLOATS, max_size=20))
@settings(max_examples=100)
def test_states_merge_in_either_order_and_an_empty_one_changes_nothing(
    left: list[float], right: list[float]
) -> None:
    one, other = state_of(left), state_of(right)
    both = merged(one, other)
    assert both == merged(other, one)
    assert merged(one, EMPTY) == merged(EMPTY, one) == one
    whole = state_of(left + right)
    assert both[0] == whole[0]
    bound = relative_bound(40, Method.ONLINE, 20)
    assert abs(both[1] - whole[1]) <= 2 * bound * whole[1]
    arrays = [tuple(np.array(part, np.float32) for part in state) for state in (one, other)]
    assert tuple(float(part) for part in merge_states(*arrays)) == both  # type: ignore[arg-type]


@pytest.mark.parametrize("part", [[float("nan"), 1.0], [1.0, float("nan")], [float("nan")]])
def test_states_keep_nan(part: list[float]) -> None:
    plain = state_of([2.0])
    assert np.isnan(state_of(part)).all()
    assert np.isnan(merged(state_of(part), plain)).all()
    assert np.isnan(merged(plain, state_of(part))).all()
    arrays = states_of(np.array([part, part], np.float32))
    others = states_of(np.ones((2, 1), np.float32))
    assert np.isnan(arrays).all()
    assert np.isnan(merge_states(arrays, others)).all()
    assert np.isnan(merge_states(others, arrays)).all()


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
@settings(max_examples=300)
def test_an_extended_exponential_has_a_mantissa_near_one(value: float) -> None:
    m, n = extended_exp(value)
    assert 0.5 <= m <= 2
    assert n == int(n)
    if abs(value) < 700:
        assert m * 2.0**n == pytest.approx(np.exp(value), rel=2.0**-23)


def test_two_passes_stay_within_range_where_exponentials_do_not() -> None:
    """exp(1000) is beyond float64; the largest difference that matters is still exact."""
    x = np.array([1000.0, 999.0, -1000.0], np.float32)
    assert softmax(x, "two_pass") == pytest.approx([0.7310586, 0.26894143, 0.0], rel=1e-6)


@pytest.mark.parametrize(
    ("x", "method", "block", "message"),
    [
        (np.zeros(3), "online", 1, "expected float32, got float64"),
        (np.zeros((), np.float32), "three_pass", None, "expected rows, got a single value"),
        (
            np.zeros(3, np.float32), "one_pass", None,
            "unknown method 'one_pass'; known: three_pass, two_pass, online",
        ),
        (np.zeros(3, np.float32), "online", None, "method online needs a block"),
        (np.zeros(3, np.float32), "two_pass", 4, "method two_pass takes no block"),
        (np.zeros(3, np.float32), "online", 0, "block must be >= 1, got 0"),
    ],
)  # fmt: skip
def test_what_is_refused(x: np.ndarray, method: str, block: int | None, message: str) -> None:
    with pytest.raises(InputError) as error:
        softmax(x, method, block)
    assert str(error.value) == message
