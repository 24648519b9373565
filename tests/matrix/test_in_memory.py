"""Does every unit multiply in every memory that computes, and do its books balance?

Units that do not multiply a pair of formats are refused by name; so are layouts that a memory has
no banks for.
"""

from collections import Counter
from functools import cache
from itertools import product as every
from pathlib import Path
from typing import Any

import pytest

from simulator.config import names
from simulator.dram.pim.grouped import GroupedPim, load_grouped
from simulator.dram.pim.grouped_energy import energies_j
from simulator.dram.pim.grouped_part import PIM_FOLDER
from simulator.engine.in_memory import InMemoryRun, run_beside, run_product
from simulator.errors import InputError
from simulator.formats import get
from simulator.hardware.pim_unit import PIM_UNIT_FOLDER, PimUnit, load_pim_unit
from simulator.mapping.pim_layout import LAYOUT_FOLDER, Layout, load_layout
from simulator.mapping.pim_product import Product

ROOT = Path(__file__).resolve().parents[2]
PARTS = [
    load_grouped(name)
    for name in names(PIM_FOLDER)
    if "\nat_once:" in (ROOT / PIM_FOLDER / f"{name}.yaml").read_text()
]
UNITS = [load_pim_unit(name) for name in names(PIM_UNIT_FOLDER)]
#: Units that every run of the tests takes.
QUICK = ("fp16_in_bank", "lut_in_bank")
LAYOUTS = [load_layout(name) for name in ("aim", "attacc_v", "pim_gpt")]
#: Weights and activations; each unit multiplies one at least, some widened.
FORMATS = [("fp16", "fp16"), ("int4-g128", "int8-token"), ("bitmod4-g128", "fp16")]
MORE_LAYOUTS = [load_layout(name) for name in names(LAYOUT_FOLDER)]
MORE_FORMATS = [*FORMATS, ("int2-g128", "int8-token"), ("int4-g128", "fp16"), ("int3-g64", "fp16")]
#: In one turn and in two; ragged, so that parts of channels, banks and bursts are left over.
PRODUCTS: list[dict[str, int]] = [
    {"outputs": 300, "inputs": 700},
    {"outputs": 96, "inputs": 200, "matrices": 3, "vectors": 6},
]
POLICIES = ("concurrent", "exclusive")


@cache
def products(weights: str, activations: str) -> list[Product]:
    formats = {"weights": get(weights), "activations": get(activations)}
    return [Product(**sizes, **formats) for sizes in PRODUCTS]


def attempt(
    part: GroupedPim, unit: PimUnit, product: Product, layout: Layout, **options: Any
) -> InMemoryRun | str:
    """Return a run, or why there is none."""
    try:
        return run_product(part, unit, product, layout=layout, **options)
    except InputError as error:
        return str(error)


def books_balance(part: GroupedPim, unit: PimUnit, run: InMemoryRun) -> None:
    """Operations are conserved, none is used twice, and energies are those of the commands."""
    run.check()
    product, fit = run.plan.product, run.plan.fit
    could = run.issued["multiply"] * part.banks_at_once * fit.tiles.values * fit.vectors
    assert 0 < product.macs <= could
    assert run.utilisation == product.macs / could
    assert 0 < run.utilisation <= 1
    assert run.cycles > 0
    if run.runs:
        assert sum(each.operations for each in run.runs) == could
        assert sum(each.bursts for each in run.runs) == run.issued["multiply"]
    own = {name: joules for name, joules in run.energy_j.items() if name != "units"}
    if run.runs:
        commands = sum((Counter(each.commands) for each in run.runs), Counter[str]())
        asked = energies_j(part, commands)
        assert {"request": 0.0, **own} == pytest.approx({"request": 0.0, **asked})
    assert all(joules >= 0 for joules in run.energy_j.values())
    assert (own.get("multiply", 0.0) > 0) == (part.energy is not None)
    assert run.energy_j["units"] > 0
    assert run.power_w * run.time_s == pytest.approx(sum(own.values()) + run.energy_j["units"])


def refusable(problem: str, unit: PimUnit, layout: Layout) -> bool:
    """Tell whether a refusal says what does not go together."""
    return problem.startswith(
        (f"PE '{unit.pe.name}' cannot multiply weights", f"layout {layout.name}: ")
    )


@pytest.mark.parametrize(
    ("layouts", "formats"),
    [
        pytest.param(LAYOUTS, FORMATS, id="some"),
        pytest.param(MORE_LAYOUTS, MORE_FORMATS, id="all", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize(
    "unit",
    [
        pytest.param(unit, id=unit.name, marks=[] if unit.name in QUICK else pytest.mark.slow)
        for unit in UNITS
    ],
)
@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_every_unit_in_every_part(
    part: GroupedPim, unit: PimUnit, layouts: list[Layout], formats: list[tuple[str, str]]
) -> None:
    """On both rungs."""
    done = Counter[str]()
    for pair, layout in every(formats, layouts):
        for product in products(*pair):
            run = attempt(part, unit, product, layout)
            if isinstance(run, str):
                assert refusable(run, unit, layout), run
                continue
            books_balance(part, unit, run)
            analytic = attempt(part, unit, product, layout, rung="analytic")
            assert isinstance(analytic, InMemoryRun)
            books_balance(part, unit, analytic)
            assert analytic.plan == run.plan
            assert analytic.utilisation == run.utilisation
            if part.energy:
                assert analytic.energy_j["units"] == run.energy_j["units"]
            done[layout.name] += 1
            done[pair[0]] += 1
    assert done["aim"] >= 2
    assert done["pim_gpt"] >= 2


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_twice_the_same(part: GroupedPim) -> None:
    for unit in UNITS:
        runs = [
            attempt(part, unit, products(*pair)[1], LAYOUTS[0])
            for pair in FORMATS
            for _ in range(2)
        ]
        assert runs[::2] == runs[1::2]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_every_policy_beside_requests(part: GroupedPim, policy: Any) -> None:
    layout = load_layout("pim_gpt")
    for unit in UNITS:
        tried = (attempt(part, unit, products(*pair)[0], layout) for pair in FORMATS)
        run = next(each for each in tried if isinstance(each, InMemoryRun))
        both = run_beside(part, unit, run, load=0.4, stream="mix21_seq", policy=policy)
        books_balance(part, unit, both.product)
        commands = sum((Counter(each.commands) for each in both.product.runs), Counter[str]())
        assert commands["RD"] + commands["WR"] == both.requests > 0
        if part.energy:
            assert both.product.energy_j["request"] > 0
            assert both.product.energy_j["units"] == run.energy_j["units"]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_every_part_with_the_layout_that_is_found(part: GroupedPim) -> None:
    product = Product(outputs=40, inputs=100, weights=get("fp16"), activations=get("fp16"))
    unit = load_pim_unit("fp16_in_bank")
    run = run_product(part, unit, product)
    books_balance(part, unit, run)
    assert run == run_product(part, unit, product)
