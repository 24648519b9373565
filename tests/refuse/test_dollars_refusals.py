"""Is a price refused where nobody has published one, and a list that says nonsense?"""

from pathlib import Path

import pytest

from simulator.api import load_device, profile_of
from simulator.config import dump_yaml, replace
from simulator.cost import load_profile
from simulator.cost.dollars import load_prices
from simulator.errors import InputError
from simulator.hardware.bill import cost_usd, unpriced

KINDS = "ddr4, ddr5, lpddr4, lpddr5, gddr5, gddr6, hbm2, hbm3"
NODES = "4 nm, 5 nm, 7 nm, 10 nm, 12 nm, 14 nm, 16 nm, 20 nm, 28 nm, 40 nm, 65 nm"


@pytest.mark.parametrize(
    ("name", "changes", "reason"),
    [
        ("neupims", {}, "neupims: no price of a memory that multiplies is public"),
        (
            "duplex_xpu",
            {},
            "duplex_xpu: nothing counts the area of its matrix unit, and die_area is not stated; "
            f"duplex_xpu: the kind of its memory is not stated (price.memory): {KINDS}",
        ),
        (
            "a100",
            {"price.process": None},
            "a100: its die area is stated, so price.process must be stated too",
        ),
        (
            "a100",
            {"price.process": "6nm"},
            "a100: public_estimates: unknown process '6nm'; did you mean '65nm'? "
            "known: 10nm, 16nm, 20nm, 28nm, 40nm, 5nm, 65nm, 7nm",
        ),
        (
            "a100",
            {"price.memory": "hbm4"},
            "a100: public_estimates: unknown memory 'hbm4'; did you mean 'hbm3'? "
            "known: ddr4, ddr5, gddr5, gddr6, hbm2, hbm3, lpddr4, lpddr5",
        ),
    ],
)
def test_a_device_without_a_price_says_why(
    name: str, changes: dict[str, str | None], reason: str
) -> None:
    device = replace(load_device(name), changes)
    profile = profile_of(device)
    assert unpriced(device, profile) == reason
    with pytest.raises(InputError) as caught:
        cost_usd(device, 100.0, profile)
    assert "; ".join(caught.value.problems) == reason


def test_a_node_without_a_wafer_is_not_scaled() -> None:
    reason = f"generic_npu_128: public_estimates: no price of a wafer at 45 nm; it has: {NODES}"
    assert unpriced(load_device("generic_npu_128"), load_profile("horowitz_45nm")) == reason


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("- 7.0", "- 5.0", "processes: nodes of more than one process: 5 nm"),
        ("- hbm2\n", "- hbm\n", "unknown memory 'hbm'; did you mean"),
        ("clustering: 10", "clustering: 0", "clustering"),
    ],
)
def test_a_price_list_that_is_none(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = dump_yaml(load_prices("public_estimates"))
    assert old in text
    path = tmp_path / "prices.yaml"
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(InputError, match=message):
        load_prices(str(path))
