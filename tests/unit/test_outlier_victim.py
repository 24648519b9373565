"""OliVe's pairs as named formats: their bits, scales and groups. The pairs: `test_codebook`."""

from fractions import Fraction

import numpy as np
import pytest

from simulator.errors import InputError
from simulator.formats import Rounding, get
from simulator.formats.conversion import Encoded
from simulator.formats.groups import spread
from simulator.formats.outlier_victim import OLIVES, decode_pairs, encode_pairs

ALL_NAMES = pytest.mark.parametrize("name", OLIVES)


def heavy(rows: int = 6, columns: int = 300, seed: int = 0) -> np.ndarray:
    """Return values with outliers: Student's t with 3 degrees of freedom."""
    random = np.random.default_rng(seed)
    return random.standard_t(3, (rows, columns)).astype(np.float32)


def encoded(name: str, values: np.ndarray, **options: int) -> Encoded:
    result = get(name).encode(values, **options)
    assert isinstance(result, Encoded)
    return result


@ALL_NAMES
def test_without_a_scale_the_codes_are_those_of_the_pairs(name: str) -> None:
    values, form = heavy() * 5, OLIVES[name]
    for rounding in Rounding:
        codes = encode_pairs(form, values, rounding, seed=4)
        np.testing.assert_array_equal(get(name).encode(values, rounding, seed=4), codes)
        np.testing.assert_array_equal(get(name).decode(codes), decode_pairs(form, codes))
    assert get(name).bits_per_value == form.normal.bits


@ALL_NAMES
@pytest.mark.parametrize("suffix", ["tensor", "channel", "g128-s32"])
def test_three_standard_deviations_are_the_largest_normal_value(name: str, suffix: str) -> None:
    """One group of each row or of all, by NumPy; the last group of a row has 44 values."""
    values, form = heavy() + np.float32(0.25), OLIVES[name]
    found = encoded(f"{name}-{suffix}", values)
    wide = values.astype(np.float64)
    parts = {
        "tensor": [[wide]],
        "channel": [[row] for row in wide],
        "g128-s32": [np.split(row, [128, 256]) for row in wide],
    }[suffix]
    spans = [[abs(p.mean()) + 3 * p.std(ddof=1) for p in row] for row in parts]
    kind = np.float32 if suffix.endswith("s32") else np.float16
    np.testing.assert_allclose(
        found.scales, np.array(spans) / form.largest_normal, rtol=np.finfo(kind).eps
    )
    scales = spread(found.scales.astype(np.float64), found.sizes, values.shape)
    codes = encode_pairs(form, wide / scales, Rounding.NEAREST_EVEN)
    np.testing.assert_array_equal(found.codes, codes)
    np.testing.assert_array_equal(found.values(), decode_pairs(form, codes) * scales)
    assert get(f"{name}-{suffix}").decode(found).tolist() == found.values().tolist()


@ALL_NAMES
def test_outliers_keep_their_size_and_their_neighbours_are_lost(name: str) -> None:
    values = heavy()
    values[:, 7] = [22, -22, 25, -25, 28, 30]
    decoded = encoded(f"{name}-channel", values).values()
    np.testing.assert_allclose(decoded[:, 7], values[:, 7], rtol=0.26)
    assert not decoded[:, 6].any()
    plain = get("int4-channel").encode(values).values()
    # A scale that reaches the outliers leaves little to the many others.
    assert np.median(np.abs(decoded - values)) < 0.5 * np.median(np.abs(plain - values))


def test_the_bits_of_groups_are_counted() -> None:
    assert get("olive_int4-g128").bits_per_value == 4 + Fraction(16, 128)
    assert get("olive_int8-g64-s32").bits_per_value == 8 + Fraction(32, 64)
    found = encoded("olive_int4-g128", heavy())
    assert found.bits_per_value == 4 + Fraction(3 * 16, 300)
    assert found.scales.shape == (6, 3)


@ALL_NAMES
def test_rows_do_not_know_each_other_and_zeros_stay_zeros(name: str) -> None:
    values = heavy()
    together = encoded(f"{name}-g128", values).values()
    for row in range(6):
        alone = encoded(f"{name}-g128", values[row : row + 1]).values()
        np.testing.assert_array_equal(alone[0], together[row])
    assert not encoded(f"{name}-g128", np.zeros((2, 200))).values().any()
    for shape in ((0,), (3, 0), (0, 4)):
        assert encoded(f"{name}-tensor", np.zeros(shape)).values().shape == shape


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("olive_int4", [1.0], "olive_int4: the last axis must be of pairs, got shape (1,)"),
        ("olive_int4-g4", [1.0] * 3, "olive_int4: the last axis must be of pairs, got shape (3,)"),
        ("olive_int8", [1.0, np.nan], "olive_int8 has no NaN: 1 of 2 values are NaN"),
        ("olive_int8-g4", [1.0, np.inf], "olive_int8-g4: 1 of 2 values are NaN or infinite"),
        (
            "olive_int4-g4-s8",
            [1.0, 2.0],
            "olive_int4-g4-s8: no arithmetic with 8-bit scales; they are for symmetric integers "
            "in groups and for bitmod",
        ),
    ],
)
def test_what_cannot_be_encoded_is_refused(name: str, values: list[float], message: str) -> None:
    with pytest.raises(InputError) as error:
        get(name).encode(np.array(values))
    assert str(error.value) == message


@pytest.mark.parametrize("group", ["g1", "g3", "g127", "g99999"])
def test_groups_that_cut_a_pair_are_refused(group: str) -> None:
    with pytest.raises(InputError) as error:
        get(f"olive_int4-{group}")
    assert str(error.value) == (
        f"format 'olive_int4-{group}': olive_int4 codes values in pairs; the group must be even"
    )
