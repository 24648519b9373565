"""What a wrong space, objective or sweep file is told, all problems at once."""

from collections.abc import Callable
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest

from simulator.config.yaml_reader import MAX_NESTING
from simulator.errors import InputError
from simulator.search.objectives import Objective
from simulator.search.space import (
    Choice,
    Constraint,
    Dimension,
    Float,
    Int,
    Log2,
    Space,
    Value,
    key_of,
)
from simulator.search.sweep_file import load_sweep
from simulator.units import DIMENSIONS

ROWS = Dimension("device.rows", Int(1, 3))
BITS = Dimension("workload.bits", Choice((2, 4, "fp16")), {"device.rows": (2, 3)})
CLOCK = Dimension("device.clock", Float(0.5, 2.0))
SPACE = Space((ROWS, BITS), (Constraint("never", lambda _point: False, "nothing does"),))


def problems_of(build: Callable[[], object]) -> list[str]:
    with pytest.raises(InputError) as refusal:
        build()
    return list(refusal.value.problems)


@pytest.mark.parametrize(
    ("build", "problems"),
    [
        (lambda: Int(4, 2), ["low must be <= high, got 4 and 2"]),
        (lambda: Int(1.0, True), ["low must be an integer of 64 bits, got 1.0", "high must be an integer of 64 bits, got True"]),
        (lambda: Int(0, 2**63), ["high must be an integer of 64 bits, got 9223372036854775808"]),
        (lambda: Int(0, 4, 0), ["step must be an integer >= 1, got 0"]),
        (lambda: Int(0, 4, 1.5), ["step must be an integer >= 1, got 1.5"]),
        (lambda: Int(1, 2**40 + 1), ["must have at most 2^40 integers, got 1 to 1099511627777"]),
        (lambda: Int(32, 256, 1000), ["step must be at most 224, from low to high, got 1000"]),
        (lambda: Log2(0, 4), ["low must be >= 1, got 0"]),
        (lambda: Log2(8, 4), ["low must be <= high, got 8 and 4"]),
        (lambda: Log2("1", 4), ["low must be an integer of 64 bits, got '1'"]),
        (lambda: Log2(3, 23), ["high must be low times a power of two, got 3 and 23; write 12 or 24"]),
        (lambda: Float(1, 1), ["low must be < high, got 1 and 1"]),
        (lambda: Float(nan, inf), ["low must be a finite number, got nan", "high must be a finite number, got inf"]),
        (lambda: Float(True, "2"), ["low must be a finite number, got True", "high must be a finite number, got '2'"]),
        (lambda: Float(0, 1, log=True), ["low must be > 0 with log, got 0"]),
        (lambda: Choice(()), ["a choice has 1 to 10000 values, got 0"]),
        (lambda: Choice(tuple(range(10_001))), ["a choice has 1 to 10000 values, got 10001"]),
        (lambda: Choice("fp16"), ["a choice is a tuple of values, got 'fp16'"]),
        (lambda: Choice((1, "a", 1, "a", "a")), ["1 is given 2 times", "'a' is given 3 times"]),
        (lambda: Choice((nan, 2**63, (1,))), ["must be finite, got nan", "must be an integer of 64 bits, got 9223372036854775808", "expected true, false, a number, text or null, got (1,)"]),
        (lambda: Dimension("", Int(1, 2), {"a": ()}), ["a dimension needs a name", "when.a: expected a tuple of values, got ()"]),
        (lambda: Dimension("b", Int(1, 2), {"a": "fp16"}), ["when.a: expected a tuple of values, got 'fp16'"]),
        (lambda: Dimension("b", Int(1, 2), quantity="byte"), ["unknown quantity 'byte'; did you mean 'bytes'? known: bytes, bytes_per_s, hertz, picojoules, picoseconds, square_millimetres, watts"]),
        (lambda: Constraint("", lambda _point: True), ["a constraint needs a name"]),
        (lambda: Space(()), ["a space has 1 to 100 dimensions, got 0"]),
        (lambda: Space(tuple(Dimension(f"d{n}", Int(1, 2)) for n in range(101))), ["a space has 1 to 100 dimensions, got 101"]),
        (lambda: Space((ROWS, ROWS), SPACE.constraints * 2), ["dimension 'device.rows' is given 2 times", "constraint 'never' is given 2 times"]),
        (lambda: Space((BITS, ROWS)), ["workload.bits: when.device.rows: must stand before this dimension"]),
        (lambda: Space((ROWS, Dimension("b", Int(1, 2), {"b": (1,)}))), ["b: when.b: must stand before this dimension"]),
        (lambda: Space((ROWS, Dimension("b", Int(1, 2), {"device.row": (1,)}))), ["b: when: unknown dimension 'device.row'; did you mean 'device.rows', or is that a typo in the space? known: device.rows"]),
        (lambda: Space((ROWS, Dimension("b", Int(1, 2), {"device.rows": (3, 4, 2.0)}))), ["b: when.device.rows: must be 1 to 3, got 4", "b: when.device.rows: expected an integer, got 2.0"]),
        (lambda: Space((CLOCK, Dimension("b", Int(1, 2), {"device.clock": (1.0,)}))), ["b: when.device.clock: is a float, which has no single values to name"]),
        (lambda: Objective("", "least"), ["an objective needs the name of a metric", "unknown goal 'least'; known: max, min"]),
        (lambda: Objective("x", "mim"), ["unknown goal 'mim'; did you mean 'min'? known: max, min"]),
        (lambda: Objective("x", "min", at_most=nan, at_least=True), ["at_most must be a finite number, got nan", "at_least must be a finite number, got True"]),
        (lambda: Objective("x", "min", at_most=1, at_least=2), ["at_least must be <= at_most, got 2 and 1"]),
    ],
)  # fmt: skip
def test_an_impossible_part_of_a_search_is_refused(
    build: Callable[[], object], problems: list[str]
) -> None:
    assert problems_of(build) == problems


@pytest.mark.parametrize(
    ("domain", "value", "problem"),
    [
        (Int(16, 64, 16), 17, "must be 16 to 64 in steps of 16, got 17"),
        (Int(1, 3), 4, "must be 1 to 3, got 4"),
        (Int(1, 3), True, "expected an integer, got True"),
        (Log2(16, 64), 48, "must be one of 16, 32, 64, got 48"),
        (Log2(16, 64), 16.0, "expected an integer, got 16.0"),
        (Float(0.5, 2.0), 1, "expected a float, got 1"),
        (Float(0.5, 2.0), 2.5, "must be 0.5 to 2.0, got 2.5"),
        (Float(0.5, 2.0), nan, "must be 0.5 to 2.0, got nan"),
        (Choice(("fp16", "int4")), "int5", "must be one of 'fp16', 'int4', got 'int5'; did you mean 'int4'?"),
        (Choice((1, True)), 1.0, "must be one of 1, True, got 1.0"),
        (Choice(tuple(range(20))), 20, "must be one of 0, 1, 2, 3, 4, 5, 6, 7 and 12 more, got 20"),
    ],
)  # fmt: skip
def test_a_value_outside_its_domain_is_refused(
    domain: Int | Log2 | Float | Choice, value: Value, problem: str
) -> None:
    assert domain.refusal(value) == problem
    assert problems_of(lambda: domain.share(value)) == [problem]


@pytest.mark.parametrize("domain", [Int(1, 3), Log2(1, 4), Float(0, 1), Choice(("a",))])
@pytest.mark.parametrize("share", [-0.1, 1.0, nan])
def test_a_share_outside_the_unit_interval_is_refused(
    domain: Int | Log2 | Float | Choice, share: float
) -> None:
    assert problems_of(lambda: domain.at(share)) == [f"a share must be >= 0 and < 1, got {share}"]


@pytest.mark.parametrize(
    ("point", "problems"),
    [
        ({"device.rows": 1}, ["constraint 'never' does not hold: nothing does"]),
        ({}, ["device.rows: missing"]),
        ({"device.rows": 2}, ["workload.bits: missing"]),
        ({"device.rows": 1, "workload.bits": 4}, ["workload.bits: does not apply here"]),
        ({"device.rows": 2, "workload.bits": 3}, ["workload.bits: must be one of 2, 4, 'fp16', got 3"]),
        ({"device.row": 1}, ["unknown dimension 'device.row'; did you mean 'device.rows'? known: device.rows, workload.bits", "device.rows: missing"]),
        ({"device.rows": 9, "zzz": 1}, ["unknown dimension 'zzz'; known: device.rows, workload.bits", "device.rows: must be 1 to 3, got 9"]),
    ],
)  # fmt: skip
def test_a_point_that_does_not_fit_is_refused(point: dict[str, Value], problems: list[str]) -> None:
    assert SPACE.refuse(point) == problems
    if not problems[0].startswith("constraint"):
        assert problems_of(lambda: SPACE.shares(point)) == problems


def test_a_constraint_without_text_is_named() -> None:
    space = Space((ROWS,), (Constraint("never", lambda _point: False),))
    assert space.refuse({"device.rows": 1}) == ["constraint 'never' does not hold"]


def test_a_float_has_no_grid() -> None:
    assert problems_of(lambda: Space((ROWS, CLOCK)).grid()) == [
        "a float has no grid: device.clock; give a choice of numbers, or search"
    ]


def test_the_wrong_number_of_shares_is_refused() -> None:
    assert problems_of(lambda: SPACE.at([0.5])) == ["expected 2 shares, got 1"]


def test_a_grid_that_cannot_be_counted_is_refused() -> None:
    parents = [Dimension(f"p{n}", Int(1, 3)) for n in range(20)]
    pairs = [(a, b) for a in range(20) for b in range(a)]
    children = [
        Dimension(f"c{a}.{b}", Int(1, 2), {f"p{a}": (1,), f"p{b}": (2,)}) for a, b in pairs[-80:]
    ]
    space = Space((*parents, *children))
    assert problems_of(lambda: space.size) == [
        "the conditions of this space are too entangled to count its grid"
    ]


def test_a_key_is_of_plain_finite_values() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        key_of({"a": nan})


UNITS = ", ".join(unit for dimension in DIMENSIONS.values() for unit in dimension.units)
HEAD = "name: n\ndevice: d\nworkload: {}\n"
GOOD = {
    "space": "device.rows: {int: [1, 3]}\n  device.size: [1 MiB, 2 MiB]\n  device.clock: {float: [0.5, 2.0]}",
    "constraints": "c: {forbid: {device.rows: 1}}",
    "objectives": "latency_s: min",
}  # fmt: skip


def told(tmp_path: Path, text: str) -> list[str]:
    """Return what is wrong with a file, without its name."""
    path = tmp_path / "my.yaml"
    path.write_text(text, encoding="utf-8")
    problems = problems_of(lambda: load_sweep(path))
    assert all(problem.startswith(str(path)) for problem in problems)
    return [problem.removeprefix(f"{path}: ") for problem in problems]


def file_with(**sections: str) -> str:
    return HEAD + "".join(f"{name}:\n  {text}\n" for name, text in {**GOOD, **sections}.items())


@pytest.mark.parametrize(
    ("sections", "problems"),
    [
        ({"space": "device.rows: {log2: [16, 512, 1], lo: true}"}, ["space.device.rows.log2: must have at most 2 entries, got 3", "space.device.rows.lo: unknown key; did you mean 'log'?"]),
        ({"space": "device.rows: {int: [16, 6.5], step: 1e3}"}, ["space.device.rows.int[1]: expected an integer, got 6.5", "space.device.rows.step: expected an integer, got '1e3' (YAML reads this as text; write 1000)"]),
        ({"space": "device.rows: {float: [1.0]}"}, ["space.device.rows.float[1]: missing"]),
        ({"space": "device.rows: {}"}, ["space.device.rows: needs one of int, log2, float, choice, got none"]),
        ({"space": "device.rows: {int: [1, 2], choice: [1]}"}, ["space.device.rows: needs one of int, log2, float, choice, got int and choice"]),
        ({"space": "device.rows: {log2: [1, 2], step: 2}"}, ["space.device.rows: step goes with int"]),
        ({"space": "device.rows: {log2: [2, 7]}"}, ["space.device.rows: high must be low times a power of two, got 2 and 7; write 4 or 8"]),
        ({"space": "device.rows: {int: [1, 2], log: true}"}, ["space.device.rows: log goes with float"]),
        ({"space": "device.rows: 16"}, ["space.device.rows: expected a list of values or a range such as {log2: [32, 256]}, got 16"]),
        ({"space": "device.rows: [[1], {a: 1}, 1.0e+999]"}, ["space.device.rows[0]: expected true, false, a number, text or null, got [1]", "space.device.rows[1]: expected true, false, a number, text or null, got {'a': 1}", "space.device.rows[2]: must be finite, got inf"]),
        ({"space": "device.rows: {int: [1 KiB, 2 KiB], step: 4 KiB}"}, ["space.device.rows: step must be at most 1024, from low to high, got 4096"]),
        ({"space": "device.rows: {int: [0.3 B, 1 MIB], step: 1500 Hz}"}, ["space.device.rows.int[0]: '0.3 B' is not a whole number of B", f"space.device.rows.int[1]: '1 MIB': unknown unit 'MIB'; known: {UNITS}", "space.device.rows.step: '1500 Hz' is not a multiple of 1000 Hz"]),
        ({"space": "device.rows: {int: [1 KiB, 2 KiB]}"}, ["space.device.rows: int of a quantity needs a step, such as step: 1 MiB"]),
        ({"space": "device.rows: {int: [1 KiB, 2 KiB], step: 1}\n  device.b: {log2: [1 MiB, 2 MHz]}"}, ["space.device.rows: ends and step need units of one quantity, or none of them, got 1 KiB, 2 KiB, 1", "space.device.b: ends and step need units of one quantity, or none of them, got 1 MiB, 2 MHz"]),
        ({"space": "device.rows: {float: [0.5 GHz, 2 GHz]}\n  device.b: {log2: [1 W, 2 W]}"}, ["space.device.rows: Hz are whole numbers; write int with step, or log2, got 0.5 GHz, 2 GHz", "space.device.b: W are no whole numbers; write float, got 1 W, 2 W"]),
        ({"space": "device.rows: {log2: [1 KiB, 2 KiB]}\n  device.b: {choice: [1], when: {device.rows: [1 kHz]}}"}, ["space.device.b: '1 kHz': unknown unit 'kHz'; known: B, kB, KiB, MB, MiB, GB, GiB, TB, TiB"]),
        ({"space": "device.rows: {log2: [1 KiB, 2 KiB]}", "constraints": "c: {forbid: {device.rows: 1 MiB}}\n  d: {allow: [{device.rows: [1 kHz]}]}"}, ["constraints.c: device.rows: must be one of 1024, 2048, got 1048576", "constraints.d: '1 kHz': unknown unit 'kHz'; known: B, kB, KiB, MB, MiB, GB, GiB, TB, TiB"]),
        ({"space": "{}", "constraints": "{}"}, ["space: a space has 1 to 100 dimensions, got 0"]),
        ({"space": "device.rows: {int: [3, 1]}\n  device.b: [a, a]\n  device.c: []"}, ["space.device.rows: low must be <= high, got 3 and 1", "space.device.b: 'a' is given 2 times", "space.device.c: a choice has 1 to 10000 values, got 0"]),
        ({"space": "devcie.rows: [1]"}, ["space.devcie.rows: a path is device, workload or run and keys, joined by dots; did you mean 'device'?"]),
        ({"space": "device..rows: [1]\n  device: [1]\n  device.a b: [1]"}, [f"space.{name}: a path is device, workload or run and keys, joined by dots" for name in ("device..rows", "device", "device.a b")]),
        ({"space": "device.rows: [1]\n  device.b: {choice: [1], when: {device.row: [1]}}"}, ["space: device.b: when: unknown dimension 'device.row'; did you mean 'device.rows', or is that a typo in the space? known: device.rows"]),
        ({"space": "device.b: {choice: [1], when: {device.rows: [1]}}\n  device.rows: [1]"}, ["space: device.b: when.device.rows: must stand before this dimension"]),
        ({"space": "device.rows: [1]\n  device.b: {choice: [1], when: {device.rows: 1}}"}, ["space.device.b.when.device.rows: expected a list, got 1"]),
        ({"space": "device.rows: [1]\n  device.b: {choice: [1], when: {device.rows: []}}"}, ["space.device.b: when.device.rows: expected a tuple of values, got ()"]),
        ({"space": "device.rows: [1]\n  device.rows: [2]"}, [":6: key 'device.rows' is given twice (first on line 5)"]),
        ({"constraints": "c: {product: [device.rows], at_mst: 1}"}, ["constraints.c.at_mst: unknown key; did you mean 'at_most'?"]),
        ({"constraints": "c: {product: [device.rows]}"}, ["constraints.c: product goes with at_least, at_most or both"]),
        ({"constraints": "c: {forbid: {device.rows: 1}, at_most: 1}"}, ["constraints.c: product goes with at_least, at_most or both"]),
        ({"constraints": "c: {}"}, ["constraints.c: needs one of product, values, forbid, allow, got none"]),
        ({"constraints": "c: {sum: [device.rows]}"}, ["constraints.c.sum: unknown key"]),
        ({"constraints": "c: {forbid: {}}"}, ["constraints.c.forbid: must have at least 1 entries, got 0"]),
        ({"constraints": "c: {values: [device.rows]}"}, ["constraints.c.values: must have at least 2 entries, got 1"]),
        ({"constraints": "c: {values: [device.rows, device.clock]}"}, ["constraints.c: values goes with in_order: true"]),
        ({"constraints": "c: {values: [device.rows, device.clock], in_order: false}"}, ["constraints.c: values goes with in_order: true"]),
        ({"constraints": "c: {forbid: {device.rows: 1}, in_order: true}"}, ["constraints.c: values goes with in_order: true"]),
        ({"constraints": "c: {product: [device.row, device.row, device.size], at_most: 1}"}, ["constraints.c: unknown dimension 'device.row'; did you mean 'device.rows', or is that a typo in the space? known: device.clock, device.rows, device.size", "constraints.c: device.size: '1 MiB' is no number; write base units"]),
        ({"constraints": "c: {forbid: {device.clock: 1.0, device.rows: 4, device.size: 1 MB}}"}, ["constraints.c: device.clock: is a float, which has no single values to name", "constraints.c: device.rows: must be 1 to 3, got 4", "constraints.c: device.size: must be one of '1 MiB', '2 MiB', got '1 MB'; did you mean '1 MiB'?"]),
        ({"constraints": "c: {allow: []}"}, ["constraints.c: allow needs one way or more"]),
        ({"constraints": "c: {allow: [{}]}"}, ["constraints.c.allow[0]: must have at least 1 entries, got 0"]),
        ({"constraints": "c: {allow: [{device.rows: 1}]}"}, ["constraints.c.allow[0].device.rows: expected a list, got 1"]),
        ({"constraints": "c: {allow: [{device.rows: [1]}], at_most: 1}"}, ["constraints.c: product goes with at_least, at_most or both"]),
        ({"constraints": "c: {allow: [{device.rows: [1, 4], device.row: [1]}, {device.clock: [1.0]}]}"}, ["constraints.c: unknown dimension 'device.row'; did you mean 'device.rows', or is that a typo in the space? known: device.clock, device.rows, device.size", "constraints.c: device.rows: must be 1 to 3, got 4", "constraints.c: device.clock: is a float, which has no single values to name"]),
        ({"workloads": "model: {}\n  a.b: {}"}, [f"workloads.{name}: a name is letters, digits, _ and -, and none of device, workload, run, model" for name in ("model", "a.b")]),
        ({"workloads": "a: [1]\n  b: {context: {a: 1}}"}, ["workloads.a: expected a mapping, got [1]", "workloads.b.context: expected true, false, a number, text or null, got {'a': 1}"]),
        ({"objectives": "{}"}, ["objectives: must have at least 1 entries, got 0"]),
        ({"objectives": "latency_s: mim"}, ["objectives.latency_s: unknown goal 'mim'; did you mean 'min'? known: max, min"]),
        ({"objectives": "latency_s: [min]"}, ["objectives.latency_s: expected text, got ['min']"]),
        ({"objectives": "area_mm2: {goa: min, at_most: 1e9}"}, ["objectives.area_mm2.goal: missing", "objectives.area_mm2.at_most: expected a number, got '1e9' (YAML reads this as text; write 1.0e+9)", "objectives.area_mm2.goa: unknown key; did you mean 'goal'?"]),
        ({"objectives": "area_mm2: {goal: mx}"}, ["objectives.area_mm2.goal: unknown goal 'mx'; did you mean 'max'? known: max, min"]),
        ({"objectives": "area_mm2: {goal: min, at_most: 1, at_least: 2}"}, ["objectives.area_mm2: at_least must be <= at_most, got 2.0 and 1.0"]),
        ({"objectives": "x: mean", "space": "y.z: [1]"}, ["objectives.x: unknown goal 'mean'; known: max, min", "space.y.z: a path is device, workload or run and keys, joined by dots"]),
    ],
)  # fmt: skip
def test_a_wrong_section_of_a_sweep_file_is_refused(
    tmp_path: Path, sections: dict[str, str], problems: list[str]
) -> None:
    found = told(tmp_path, file_with(**sections))
    assert [problem.removeprefix(str(tmp_path / "my.yaml")) for problem in found] == problems


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("nam: n", ["name: missing", "device: missing", "workload: missing", "space: missing", "objectives: missing", "nam: unknown key; did you mean 'name'?"]),
        (f"{file_with()}run: {{memo: {{a: 1}}, trace: [1, a], seed: [true]}}", ["run.memo: expected true, false, a number, text or null, got {'a': 1}", "run.trace: a list here has integers of 64 bits only, got 'a'", "run.seed: a list here has integers of 64 bits only, got True"]),
        (f"{file_with()}run: {{seed: {2**63}}}", ["run.seed: must be an integer of 64 bits, got 9223372036854775808"]),
        (f"{file_with(space='run.rung: [tile]', constraints='{}')}rung: tile", ["rung and space.run.rung each say the rung of a point: keep one"]),
        (f"{file_with(space='run.rung: [tile]', constraints='{}')}run: {{rung: tile}}", ["run.rung and space.run.rung each say the rung of a point: keep one"]),
        (f"{file_with()}rung: tile\nrun: {{rung: analytic}}", ["rung and run.rung each say the rung of a point: keep one"]),
        (f"{file_with()}rung: 3\nstrategy: [grid]", ["rung: expected text, got 3", "strategy: expected text, got ['grid']"]),
        (f"{file_with()}run: {{a: !!python/object:os.system x}}", [":12: tag 'tag:yaml.org,2002:python/object:os.system' is not supported; write plain values"]),
        (f"{file_with()}run: {'{a: ' * 40}1{'}' * 40}", [f":12: nested deeper than {MAX_NESTING} levels"]),
        (file_with(space=f"device.a: {[*range(10_001)]}", constraints="{}"), ["space.device.a: a choice has 1 to 10000 values, got 10001"]),
        (file_with(space="\n  ".join(f"device.a{n}: [1]" for n in range(101)), constraints="{}"), ["space: a space has 1 to 100 dimensions, got 101"]),
    ],
)  # fmt: skip
def test_a_wrong_sweep_file_is_refused(tmp_path: Path, text: str, problems: list[str]) -> None:
    found = told(tmp_path, text)
    assert [problem.removeprefix(str(tmp_path / "my.yaml")) for problem in found] == problems


def test_the_file_that_the_refusals_start_from_is_right(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(file_with(), encoding="utf-8")
    assert load_sweep(path).space.size is None


def test_an_absent_sweep_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "none.yaml"
    assert problems_of(lambda: load_sweep(path)) == [f"{path}: no such file"]


def test_a_change_of_a_loaded_sweep_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(file_with(), encoding="utf-8")
    settings: Any = load_sweep(path).workload
    with pytest.raises(TypeError, match="a part is frozen"):
        settings["batch"] = 2
