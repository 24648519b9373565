"""Spaces and objectives of a search, and the sweep file that they are read from."""

import pickle
import re
from collections.abc import Sequence
from itertools import islice, product
from math import inf, isclose, nan
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.search.objectives import Objective
from simulator.search.space import (
    Choice,
    Constraint,
    Dimension,
    Domain,
    Float,
    Int,
    Log2,
    Point,
    Space,
    Value,
    key_of,
)
from simulator.search.sweep_file import load_sweep

SWEEP = """
name: pe_array_front
summary: shape of the array by format of the weights
device: generic_npu_128
workload: {model: llama-3-8b, phase: decode, batch: 8, context: [2048, 512], scale: 1.5}
run: {attention: fused, memo: true}
space:
  device.matrix.rows: {log2: [16, 512]}
  device.matrix.columns: {int: [16, 64], step: 16}
  device.clock: {float: [0.5, 2.0], log: true}
  workload.weights: [fp16, int4-g128]
  device.scratchpad.capacity: {choice: [1 MiB, 2 MiB], when: {device.matrix.rows: [16, 32]}}
constraints:
  macs: {product: [device.matrix.rows, device.matrix.columns], at_least: 512, at_most: 16384}
  wide: {values: [device.matrix.rows, device.matrix.columns], in_order: true}
  not_both: {forbid: {workload.weights: fp16, device.matrix.rows: 32}}
objectives:
  latency_s: min
  tokens_per_s: max
  area_mm2: {goal: min, at_most: 100, at_least: 1.5}
strategy: grid
"""

PLAIN = st.one_of(
    st.booleans(),
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=3),
)
SHARES = st.floats(0, 1, exclude_max=True)


@st.composite
def listed_domains(draw: st.DrawFn, most: int = 2**62) -> Int | Log2 | Choice:
    kind = draw(st.sampled_from(["int", "log2", "choice"]))
    if kind == "int":
        low, size = draw(st.integers(-(2**62), 2**62)), draw(st.integers(0, min(most, 2**40) - 1))
        step = draw(st.integers(1, 2**20))
        past = draw(st.integers(0, step - 1)) if size else 0
        return Int(low, low + size * step + past, step)
    if kind == "log2":
        low = draw(st.integers(1, 2**20))
        return Log2(low, low << draw(st.integers(0, min(most - 1, 40))))
    return Choice(tuple(draw(st.lists(PLAIN, min_size=1, max_size=min(most, 9), unique_by=repr))))


@st.composite
def spaces(draw: st.DrawFn) -> Space:
    """Draw a small space in which dimensions depend on earlier ones."""
    dimensions: list[Dimension] = []
    for index in range(draw(st.integers(1, 5))):
        named = draw(
            st.lists(st.sampled_from(dimensions), max_size=2, unique_by=id)
            if index
            else st.just([])
        )
        when = {
            each.name: tuple(
                draw(st.lists(st.sampled_from(values_of(each.domain)), min_size=1, max_size=2))
            )
            for each in named
        }
        dimensions.append(Dimension(f"device.{index}", draw(listed_domains(most=4)), when))
    return Space(tuple(dimensions))


def values_of(domain: Domain) -> tuple[Value, ...]:
    assert not isinstance(domain, Float)
    return domain.values()


def same(one: Value, other: Value) -> bool:
    return repr(one) == repr(other)


@pytest.mark.parametrize(
    ("domain", "values"),
    [
        (Int(3, 3), (3,)),
        (Int(-1, 1), (-1, 0, 1)),
        (Int(16, 70, 16), (16, 32, 48, 64)),
        (Log2(16, 128), (16, 32, 64, 128)),
        (Log2(3, 12), (3, 6, 12)),
        (Log2(5, 5), (5,)),
        (Choice((1, True, 1.0, "1", None)), (1, True, 1.0, "1", None)),
    ],
)
def test_a_finite_domain_lists_its_values(
    domain: Int | Log2 | Choice, values: tuple[Value, ...]
) -> None:
    assert [*map(repr, domain.values())] == [*map(repr, values)]
    assert domain.size == len(values)
    assert [domain.refusal(value) for value in values] == [""] * len(values)


@given(listed_domains(), SHARES)
def test_each_value_has_an_equal_part_and_its_middle_leads_back(
    domain: Int | Log2 | Choice, share: float
) -> None:
    value = domain.at(share)
    assert domain.refusal(value) == ""
    middle = domain.share(value)
    assert same(domain.at(middle), value)
    assert isclose(middle, share, abs_tol=0.5 / domain.size + 1e-15)


@pytest.mark.parametrize("domain", [Int(1, 7), Log2(1, 64), Choice(tuple("abcdefg"))])
def test_parts_of_the_unit_interval_are_in_order(domain: Int | Log2 | Choice) -> None:
    assert tuple(domain.at((n + 0.001) / 7) for n in range(7)) == domain.values()
    assert tuple(domain.at((n + 0.999) / 7) for n in range(7)) == domain.values()


@given(st.floats(-1e308, 1e308), st.floats(-1e308, 1e308), SHARES)
def test_a_float_keeps_its_ends_and_leads_back(one: float, other: float, share: float) -> None:
    low, high = sorted((one, other))
    if low == high:
        return
    domain = Float(low, high)
    value = domain.at(share)
    assert domain.refusal(value) == ""
    assert 0 <= domain.share(value) < 1
    spread = high / 2 - low / 2
    assert isclose(domain.at(domain.share(value)), value, rel_tol=1e-9, abs_tol=1e-9 * spread)


def test_a_logarithmic_float_is_even_in_its_logarithm() -> None:
    domain = Float(0.5, 8, log=True)
    assert domain.size is None
    assert [domain.at(share) for share in (0.0, 0.25, 0.5)] == pytest.approx([0.5, 1.0, 2.0])
    assert domain.share(4.0) == pytest.approx(0.75)
    assert domain.share(8.0) == 1 - 2**-53
    assert Float(1, 3).at(0.0) == 1.0
    assert type(Float(1, 3).at(0.0)) is float


@given(spaces())
def test_the_grid_has_the_points_that_are_counted_each_once_and_none_refused(space: Space) -> None:
    points = list(space.grid())
    assert space.size == len(points) == len({key_of(point) for point in points})
    assert [problem for point in points for problem in space.refuse(point)] == []
    order = [each.name for each in space.dimensions]
    assert all(list(point) == [name for name in order if name in point] for point in points)


@given(spaces())
def test_the_grid_is_what_is_left_of_all_combinations(space: Space) -> None:
    found: dict[str, Point] = {}
    for values in product(*(values_of(each.domain) for each in space.dimensions)):
        point: dict[str, Value] = {}
        for dimension, value in zip(space.dimensions, values, strict=True):
            if all(
                any(same(point[name], wanted) for wanted in wants) if name in point else False
                for name, wants in dimension.when.items()
            ):
                point[dimension.name] = value
        found.setdefault(repr(point), point)
    # All combinations with the last fastest: the first of each point is in the order of the grid.
    assert [repr(point) for point in space.grid()] == list(found)


@given(spaces())
def test_shares_of_a_point_lead_back_to_it(space: Space) -> None:
    for point in islice(space.grid(), 50):
        shares = space.shares(point)
        absent = [each.name not in point for each in space.dimensions]
        assert [share for share, out in zip(shares, absent, strict=True) if out] == [0.5] * sum(
            absent
        )
        assert repr(space.at(shares)) == repr(point)


@given(spaces(), st.data())
def test_any_place_of_the_cube_is_a_point_of_the_space(space: Space, data: st.DataObject) -> None:
    count = len(space.dimensions)
    point = space.at(data.draw(st.lists(SHARES, min_size=count, max_size=count)))
    assert point is not None
    assert space.refuse(point) == []


def test_the_last_dimension_is_the_fastest() -> None:
    space = Space((Dimension("a", Int(1, 2)), Dimension("b", Choice(("x", "y")), {"a": (2,)})))
    assert list(space.grid()) == [{"a": 1}, {"a": 2, "b": "x"}, {"a": 2, "b": "y"}]


def test_a_value_of_a_condition_is_told_apart_by_type() -> None:
    space = Space(
        (Dimension("a", Choice((1, True, 1.0))), Dimension("b", Int(0, 1), {"a": (True,)}))
    )
    assert space.size == 4
    assert [len(point) for point in space.grid()] == [1, 2, 2, 1]


def product_at_most_4(point: Point) -> bool:
    a, b = point["a"], point["b"]
    assert isinstance(a, int)
    assert isinstance(b, int)
    return a * b <= 4


def test_constraints_thin_the_grid_and_the_cube_but_not_the_size() -> None:
    space = Space(
        (Dimension("a", Int(1, 3)), Dimension("b", Int(1, 3))),
        (Constraint("small", product_at_most_4, "a x b <= 4"),),
    )
    assert space.size == 9
    assert [tuple(point.values()) for point in space.grid()] == [
        *((1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (3, 1)),
    ]
    assert space.at([0.9, 0.1]) == {"a": 3, "b": 1}
    assert space.at([0.9, 0.5]) is None
    assert space.refuse({"a": 3, "b": 2}) == ["constraint 'small' does not hold: a x b <= 4"]


def test_a_space_with_a_float_is_endless() -> None:
    space = Space((Dimension("a", Int(1, 3)), Dimension("b", Float(0, 1))))
    assert space.size is None
    assert space.at([0.5, 0.25]) == {"a": 2, "b": 0.25}


def test_large_grids_are_counted_and_begun_without_being_walked() -> None:
    parents = [Dimension(f"p{n}", Int(1, 2**40)) for n in range(50)]
    children = [Dimension(f"c{n}", Int(1, 3), {f"p{n}": (1, 2)}) for n in range(50)]
    space = Space((*parents, *children))
    assert space.size == (2**40 - 2 + 2 * 3) ** 50
    assert next(space.grid())["p49"] == 1


def test_a_condition_on_several_dimensions_is_counted() -> None:
    chain = [Dimension("d0", Int(1, 3))]
    for n in range(1, 40):
        chain.append(Dimension(f"d{n}", Int(1, 3), {each.name: (1, 2) for each in chain}))
    space = Space(tuple(chain))
    # At each step one value ends the chain: 1 + 2 + 4 + ..., and the last has all three.
    assert space.size == sum(2**n for n in range(39)) + 2**39 * 3


# By `printf '{"a":1,"b":"x"}' | b2sum -l 64`.
def test_keys_depend_on_names_values_and_types_alone() -> None:
    assert key_of({"a": 1, "b": "x"}) == key_of({"b": "x", "a": 1}) == "a18952d1cd646943"
    others: Sequence[Point] = (
        *({"a": 1}, {"a": 1.0}, {"a": True}, {"a": "1"}, {"a": None}, {"b": 1}, {}),
        *({"a": "é"}, {"a": "\ud800"}, {"a": 1.0000000000000002}),
    )
    keys = [key_of(point) for point in others]
    assert len(set(keys)) == len(keys)
    assert all(re.fullmatch("[0-9a-f]{16}", key) for key in keys)


def test_an_objective_is_made_small() -> None:
    assert Objective("latency_s", "min").cost(2.0) == 2.0
    assert Objective("tokens_per_s", "max").cost(2.0) == -2.0


@pytest.mark.parametrize(
    ("at_least", "at_most", "inside", "outside"),
    [
        (None, None, (-inf, 0, inf), (nan,)),
        (None, 2, (-inf, 2.0), (2.1, inf, nan)),
        (1, None, (1, inf), (0.9, -inf, nan)),
        (1, 1, (1,), (0.9, 1.1, nan)),
    ],
)
def test_an_objective_has_bounds(
    at_least: float | None,
    at_most: float | None,
    inside: Sequence[float],
    outside: Sequence[float],
) -> None:
    objective = Objective("area_mm2", "max", at_most=at_most, at_least=at_least)
    assert all(objective.within(value) for value in inside)
    assert not any(objective.within(value) for value in outside)


@pytest.fixture
def sweep_path(tmp_path: Path) -> Path:
    path = tmp_path / "sweep.yaml"
    path.write_text(SWEEP, encoding="utf-8")
    return path


def test_a_sweep_file_gives_space_objectives_and_settings(sweep_path: Path) -> None:
    sweep = load_sweep(sweep_path)
    assert (sweep.name, sweep.device, sweep.rung) == ("pe_array_front", "generic_npu_128", "tile")
    assert sweep.workload == {
        **{"model": "llama-3-8b", "phase": "decode", "batch": 8, "context": [2048, 512]},
        "scale": 1.5,
    }
    assert sweep.run == {"attention": "fused", "memo": True}
    assert sweep.strategy == "grid"
    rows, columns = "device.matrix.rows", "device.matrix.columns"
    assert sweep.space.dimensions == (
        Dimension(rows, Log2(16, 512)),
        Dimension(columns, Int(16, 64, 16)),
        Dimension("device.clock", Float(0.5, 2.0, log=True)),
        Dimension("workload.weights", Choice(("fp16", "int4-g128"))),
        Dimension("device.scratchpad.capacity", Choice(("1 MiB", "2 MiB")), {rows: (16, 32)}),
    )
    assert [(each.name, each.text) for each in sweep.space.constraints] == [
        ("macs", f"512 <= {rows} x {columns} <= 16384"),
        ("wide", f"{rows} <= {columns}"),
        ("not_both", f"not workload.weights 'fp16' with {rows} 32"),
    ]
    assert sweep.objectives == (
        Objective("latency_s", "min"),
        Objective("tokens_per_s", "max"),
        Objective("area_mm2", "min", at_most=100, at_least=1.5),
    )


def test_what_a_sweep_file_leaves_out_has_defaults(tmp_path: Path) -> None:
    path = tmp_path / "least.yaml"
    path.write_text(
        "{name: n, device: d, workload: {}, space: {run.a: [1]}, objectives: {x: min}}",
        encoding="utf-8",
    )
    sweep = load_sweep(str(path))
    assert (sweep.summary, sweep.rung, sweep.run, sweep.strategy) == ("", "tile", {}, None)
    assert sweep.space == Space((Dimension("run.a", Choice((1,))),))


def test_ends_of_ranges_take_units(tmp_path: Path) -> None:
    path = tmp_path / "units.yaml"
    path.write_text(
        """
name: n
device: d
workload: {}
space:
  device.a: {log2: [0.5 MiB, 2 MiB]}
  device.b: {int: [0.5 GHz, 1.5 GHz], step: 500 MHz, when: {device.a: [1 MiB]}}
  device.c: {float: [1 mW, 2 W]}
constraints:
  not_this: {forbid: {device.a: 2 MiB}}
  one_of: {allow: [{device.b: [1 GHz]}]}
  small: {product: [device.a], at_most: 1048576}
objectives: {x: min}
""",
        encoding="utf-8",
    )
    space = load_sweep(path).space
    clock = Int(500_000_000, 1_500_000_000, 500_000_000)
    assert space.dimensions == (
        Dimension("device.a", Log2(2**19, 2**21), quantity="bytes"),
        Dimension("device.b", clock, {"device.a": (2**20,)}, "hertz"),
        Dimension("device.c", Float(0.001, 2.0), quantity="watts"),
    )
    # In base units, as a file that has them without units gives: the same points, the same keys.
    whole = Space(space.dimensions[:2], space.constraints)
    assert [tuple(point.values()) for point in whole.grid()] == [(2**19,), (2**20, 10**9)]
    assert space.dimensions[0].written(2**20) == "1 MiB"
    assert space.dimensions[0].read("1 MiB") == 2**20
    assert Dimension("device.a", Choice(("1 MiB",))).read("1 MiB") == "1 MiB"


def test_constraints_of_a_sweep_file_hold_where_a_dimension_does_not_apply(tmp_path: Path) -> None:
    path = tmp_path / "conditional.yaml"
    path.write_text(
        """
name: n
device: d
workload: {}
space:
  run.a: [1, 2]
  run.b: {int: [3, 4], when: {run.a: [2]}}
  run.c: [2, 2.5, 3.5]
constraints:
  small: {product: [run.a, run.b, run.c], at_least: 10, at_most: 24}
  rising: {values: [run.a, run.c, run.b], in_order: true}
  not_these: {forbid: {run.b: 4, run.c: 2}}
objectives: {x: min}
""",
        encoding="utf-8",
    )
    points = [tuple(point.values()) for point in load_sweep(path).space.grid()]
    # (2, 3, 3.5) is not in order, (2, 4, 2) forbidden, (2, 4, 3.5) too large.
    assert points == [
        *((1, 2), (1, 2.5), (1, 3.5)),
        *((2, 3, 2), (2, 3, 2.5), (2, 4, 2.5)),
    ]


def test_ways_that_are_allowed(tmp_path: Path) -> None:
    path = tmp_path / "ways.yaml"
    path.write_text(
        """
name: n
device: d
workload: {}
space:
  run.a: [x, y, z]
  run.b: {choice: [1, true], when: {run.a: [x, y]}}
  run.c: [3, 4]
constraints:
  ways:
    allow:
      - {run.a: [x], run.b: [1]}
      - {run.a: [y, z], run.b: [true], run.c: [4]}
objectives: {x: min}
""",
        encoding="utf-8",
    )
    space = load_sweep(path).space
    # Where a dimension does not apply, what is said of it holds.
    expected = [("x", 1, 3), ("x", 1, 4), ("y", True, 4), ("z", 4)]
    assert [tuple(map(repr, point.values())) for point in space.grid()] == [
        tuple(map(repr, point)) for point in expected
    ]
    assert space.refuse({"run.a": "x", "run.b": True, "run.c": 3}) == [
        "constraint 'ways' does not hold: one of 2 combinations of run.a, run.b, run.c"
    ]


def test_a_product_of_many_large_numbers_is_compared(tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    names = ", ".join(f"run.d{n}" for n in range(30))
    domains = "\n".join(f"  run.d{n}: [{2**62}, 1.0]" for n in range(30))
    path.write_text(
        f"name: n\ndevice: d\nworkload: {{}}\nspace:\n{domains}\nconstraints:\n"
        f"  small: {{product: [{names}], at_most: 1}}\nobjectives: {{x: min}}\n",
        encoding="utf-8",
    )
    space = load_sweep(path).space
    assert space.at([0.1] * 30) is None
    assert space.at([0.1] * 29 + [0.9]) is None
    assert space.at([0.9] * 30) is not None


def test_a_sweep_can_be_sent_to_another_process(sweep_path: Path) -> None:
    sweep = load_sweep(sweep_path)
    assert pickle.loads(pickle.dumps(sweep)) == sweep
