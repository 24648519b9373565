"""Does `nibblesim pim product` print what was asked for, and refuse what cannot be?"""

import json
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from typer.testing import CliRunner, Result

from simulator.cli import app
from simulator.cli.pim_product import POLICIES, RUNGS
from simulator.config import resolved
from simulator.dram.pim.grouped import Policy, load_grouped
from simulator.engine.in_memory import Rung, run_beside, run_product
from simulator.formats import get
from simulator.hardware.pim_unit import load_pim_unit
from simulator.mapping.pim_layout import load_layout
from simulator.mapping.pim_product import Product

SMALL = ("--out", "128", "--in", "512", "--layout", "aim")
INT4 = ("--weights", "int4-g128", "--activations", "int8-token", "--unit", "mixpe_in_bank")


def nibblesim(*arguments: str) -> Result:
    command = ["pim", "product", *arguments]
    return CliRunner().invoke(app, command, prog_name="nibblesim")


def parsed(*arguments: str) -> dict[str, Any]:
    result = nibblesim(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return dict(json.loads(result.stdout))


def test_its_words_are_those_of_the_engine() -> None:
    assert sorted(POLICIES) == sorted(get_args(Policy))
    assert sorted(RUNGS) == sorted(get_args(Rung))


@pytest.mark.parametrize("rung", ["command", "analytic"])
def test_json_is_the_run(rung: Any) -> None:
    record = parsed(*SMALL, *INT4, "--vectors", "3", "--matrices", "2", "--rung", rung)
    product = Product(
        outputs=128,
        inputs=512,
        weights=get("int4-g128"),
        activations=get("int8-token"),
        vectors=3,
        matrices=2,
    )
    unit = load_pim_unit("mixpe_in_bank")
    run = run_product(
        load_grouped("hbm3_banks"), unit, product, layout=load_layout("aim"), rung=rung
    )
    fit = run.plan.fit
    assert record.pop("wall_time_s") > 0
    assert record == {
        "part": "hbm3_banks",
        "unit": "mixpe_in_bank",
        "pe": "mixpe_w4a8",
        "weights": "int4-g128",
        "activations": "int8-token",
        "stored": "int4-g128",
        "values_per_column": 64,
        "layout": "aim",
        "held": run.plan.point.held,
        "rung": rung,
        "cycles": run.cycles,
        "tick_ps": 769,
        "time_s": run.time_s,
        "operations": 128 * 512 * 3 * 2,
        "channels": 1,
        "utilisation": run.utilisation,
        "cadence_ticks": fit.cadence_ticks,
        "bound_by": fit.bound_by,
        "elements_per_bank": fit.tiles.elements,
        "area_per_bank_mm2": fit.area_mm2._asdict(),
        "power_per_bank_w": fit.power_w._asdict(),
        "commands": run.issued,
        "row_hit_rate": run.counts.row_hit_rate,
        "additions": run.plan.point.partial_sums,
        "energy_j": run.energy_j,
    }


def test_requests_beside_it() -> None:
    options = ("--load", "0.3", "--stream", "random", "--policy", "exclusive")
    record = parsed(*SMALL, *options)["beside"]
    part, unit = load_grouped("hbm3_banks"), load_pim_unit("fp16_in_bank")
    product = Product(outputs=128, inputs=512, weights=get("fp16"), activations=get("fp16"))
    alone = run_product(part, unit, product, layout=load_layout("aim"))
    both = run_beside(part, unit, alone, load=0.3, stream="random", policy="exclusive")
    assert record == {
        "cycles": both.product.cycles,
        "slowdown": both.slowdown,
        "requests": both.requests,
        "requests_cycles": both.request_cycles,
        "requests_alone_cycles": both.alone_cycles,
        "read_latency_s": both.read_latency_s,
        "energy_j": both.product.energy_j,
    }
    assert "beside" not in parsed(*SMALL)


def test_without_a_layout_the_fastest_is_found() -> None:
    size = ("--out", "128", "--in", "512")
    found, given = (parsed(*each, "--rung", "analytic") for each in (size, SMALL))
    assert found["layout"] != "aim"
    assert found["cycles"] <= given["cycles"]


def test_another_element_in_a_unit() -> None:
    formats = ("--weights", "int4-g128", "--activations", "int8-token")
    record = parsed(*SMALL, *formats, "--pe", "mixpe_w4a8")
    assert (record["unit"], record["pe"]) == ("fp16_in_bank", "mixpe_w4a8")
    assert record["cycles"] == parsed(*SMALL, *INT4)["cycles"]


def test_files_in_place_of_names(tmp_path: Path) -> None:
    part = resolved(load_grouped("hbm3_banks"))
    (tmp_path / "part.yaml").write_text(
        yaml.safe_dump({**part, "name": "mine", "channels": 2}, sort_keys=False)
    )
    unit = resolved(load_pim_unit("fp16_in_bank"))
    (tmp_path / "unit.yaml").write_text(yaml.safe_dump({**unit, "name": "ours"}, sort_keys=False))
    layout = resolved(load_layout("aim"))
    (tmp_path / "layout.yaml").write_text(
        yaml.safe_dump({**layout, "name": "theirs"}, sort_keys=False)
    )
    files = [
        word
        for option in ("part", "unit", "layout")
        for word in (f"--{option}", str(tmp_path / f"{option}.yaml"))
    ]
    record = parsed("--out", "256", "--in", "512", *files)
    assert [record[key] for key in ("part", "unit", "layout")] == ["mine", "ours", "theirs"]


def test_the_table_says_what_was_done() -> None:
    result = nibblesim(*SMALL, "--load", "0.3")
    assert result.exit_code == 0
    record = parsed(*SMALL, "--load", "0.3")
    lines = {line[2:12].strip(): line for line in result.stdout.splitlines()}
    assert result.stdout.startswith("hbm3_banks, fp16_in_bank, command\n")
    assert f"{record['cycles']:,} cycles" in lines["time"]
    assert f"{record['utilisation']:.1%} of what" in lines["used"]
    assert f"{record['cadence_ticks']} ticks, bound by the power" in lines["column"]
    assert f"aim, lanes as the unit has them; {record['held']} held" in lines["layout"]
    assert f"multiply {record['commands']['multiply']:,}" in lines["commands"]
    assert f"{record['row_hit_rate']:.1%}" in lines["row hits"]
    assert f"{record['elements_per_bank']} x fp16_fma" in lines["unit"]
    assert "multiply" in lines["energy"]
    assert "units" in result.stdout
    assert f"{record['beside']['requests']:,} requests" in lines["beside"]
    assert f"{record['beside']['requests_alone_cycles']:,} alone" in lines["requests"]
    assert "wall time" in lines
    assert "beside" not in nibblesim(*SMALL).stdout
    assert "activate" not in nibblesim(*SMALL, "--part", "gddr6_banks").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--part", "hbm3_bank"),
            "unknown grouped PIM part 'hbm3_bank'; did you mean 'hbm3_banks'?",
        ),
        (
            ("--unit", "fp61_in_bank"),
            "unknown PIM unit 'fp61_in_bank'; did you mean 'fp16_in_bank'?",
        ),
        (("--pe", "fp16_fm"), "unknown PE 'fp16_fm'; did you mean 'fp16_fma'?"),
        (("--layout", "aims"), "unknown layout 'aims'; did you mean 'aim'?"),
        (("--weights", "fp61"), "unknown format 'fp61'"),
        (("--activations", "fp8"), "unknown format 'fp8'"),
        (("--vectors", "0"), "vectors must be >= 1, got 0"),
        (
            ("--out", "-1", "--matrices", "0"),
            "outputs must be >= 1, got -1\nmatrices must be >= 1, got 0",
        ),
        (
            ("--rung", "commands"),
            "unknown rung 'commands'; did you mean 'command'? known: analytic, command",
        ),
        (("--policy", "shared"), "unknown policy 'shared'; known: concurrent, exclusive"),
        (
            ("--policy", "shared", "--rung", "analytic"),
            "unknown policy 'shared'; known: concurrent, exclusive",
        ),
        (("--load", "1.5"), "load must be above 0 and at most 1, got 1.5"),
        (("--load", "-0.5"), "load must be above 0 and at most 1, got -0.5"),
        (("--load", "nan"), "load must be above 0 and at most 1, got nan"),
        (("--load", "0.5", "--rung", "analytic"), "load needs rung 'command', got 'analytic'"),
        (
            ("--load", "0.5", "--stream", "rnadom"),
            "unknown stream 'rnadom'; did you mean 'random'?",
        ),
        (
            ("--unit", "mixpe_in_bank"),
            "PE 'mixpe_w4a8' cannot multiply weights fp16 with activations",
        ),
        (
            ("--layout", "attacc_v", "--part", "duplex_logic"),
            "layout attacc_v: splits[3]: 16 inputs",
        ),
    ],
)
def test_refused(arguments: tuple[str, ...], message: str) -> None:
    result = nibblesim(*SMALL, *arguments)
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith(message)
    assert result.stdout == ""


@pytest.mark.parametrize("missing", ["--out", "--in"])
def test_sizes_are_needed(missing: str) -> None:
    given = [word for option in {"--out", "--in"} - {missing} for word in (option, "64")]
    result = nibblesim(*given)
    assert result.exit_code == 2
    assert missing in result.stderr
