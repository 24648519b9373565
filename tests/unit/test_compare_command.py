"""The commands `compare` and `explain`: what they print, and what they refuse."""

import json
import re
import shlex
from dataclasses import asdict, replace
from math import inf
from pathlib import Path
from typing import Any

import pytest
from plans import tiny_model
from typer.testing import CliRunner, Result

from simulator import compare
from simulator.cli import app
from simulator.compare import Row, compared, table
from simulator.config import dump_yaml
from simulator.config import replace as changed
from simulator.design import Terms, element_names, formats_of, load_element
from simulator.explain import STEPS
from simulator.hardware.area import LEFT_OUT

DECODE, PREFILL = "tiny.yaml/decode/1", "tiny.yaml/prefill/256"
QUICK = ("--rung", "analytic", "--workload", DECODE)
README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
SECTION = README.split("\n## Comparing processing elements\n")[1].split("\n## ")[0]
WIDTH = 99
TERMS = Terms(rung="analytic")


@pytest.fixture(autouse=True)
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand where tiny.yaml and the README's my_pe.yaml are; SQNR has tests of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(compare, "_sqnr_db", lambda kernel, formats: 20.0)
    Path("tiny.yaml").write_text(dump_yaml(tiny_model()), encoding="utf-8")
    for language, text in re.findall(r"^```(yaml|py|csv)\n(.*?)^```$", SECTION, re.M | re.S):
        name = "my_synthesis" if language == "csv" else "my_pe"
        Path(f"{name}.{language}").write_text(text, encoding="utf-8")


def nibblesim(*arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments], prog_name="nibblesim")


def rows_of(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.stderr
    rows: list[dict[str, Any]] = json.loads(result.stdout)["rows"]
    return rows


def test_json_has_the_rows_of_compare_with_ratios_to_fp16() -> None:
    names = ("bitmod", "int8_mac")
    found = rows_of(nibblesim("compare", *names, *QUICK, "--workload", PREFILL, "--json"))
    elements = [load_element(name) for name in names]
    expected = [row for each in (DECODE, PREFILL) for row in table(elements, [each], TERMS)]
    assert len(found) == 2 * (4 + 1)
    for record, row in zip(found, expected, strict=True):
        base = compared(load_element("fp16_fma"), "fp16xfp16", row.workload, TERMS)
        ratios = {
            "speed_up": base.latency_s / row.latency_s,
            "energy_ratio": row.energy_j / base.energy_j,
        }
        for part in ("array", "chip"):
            area = getattr(row, f"{part}_mm2") / getattr(base, f"{part}_mm2")
            ratios[f"speed_up_per_{part}_area"] = pytest.approx(ratios["speed_up"] / area)
        assert record == asdict(row) | ratios
        assert record["latency_s"] > 0


def test_the_baseline_is_once_as_fast_as_itself() -> None:
    (found,) = rows_of(nibblesim("compare", "fp16_fma", *QUICK, "--json"))
    assert (found["speed_up"], found["energy_ratio"]) == (1, 1)
    assert found["elements"] == 768


def test_against_adds_one_or_all_others() -> None:
    one = rows_of(nibblesim("compare", "int8_mac", "--against", "ternary_adder", *QUICK, "--json"))
    assert [row["pe"] for row in one] == ["int8_mac", "ternary_adder"]
    every = rows_of(nibblesim("compare", "olive", "--against", "all", *QUICK, "--json"))
    names = ["olive", *(name for name in element_names() if name != "olive")]
    assert [row["pe"] for row in every] == [
        name for name in names for _ in load_element(name).formats
    ]


def test_an_element_of_ones_own_is_a_file() -> None:
    found = rows_of(nibblesim("compare", "my_pe.yaml", "--against", "mixpe_w4a8", *QUICK, "--json"))
    assert [row["pe"] for row in found] == ["truncated", "mixpe_w4a8"]
    assert found[0]["weights"] == "int4-g128"
    # Without a column an element is smaller, and so are more.
    assert found[0]["elements"] > found[1]["elements"]


def test_iso_elements_keeps_their_number() -> None:
    found = rows_of(nibblesim("compare", "int8_mac", "--iso", "elements", *QUICK, "--json"))
    assert [row["elements"] for row in found] == [768]


def test_synthesis_and_dram_are_those_of_files_and_named() -> None:
    Path("mine.csv").write_text("pe,pair,area_um2,energy_pj\nint8_mac,int8xint8,200,0.1\n")
    arguments = ("compare", "int8_mac", "figna", "--synthesis", "mine.csv", *QUICK)
    mine, other, _ = rows_of(nibblesim(*arguments, "--json"))
    plain, *_ = rows_of(nibblesim("compare", "int8_mac", *QUICK, "--json"))
    assert (mine["priced_by"], other["priced_by"]) == (
        "synthesis mine.csv", "gates in scaled_28nm"
    )  # fmt: skip
    assert mine["elements"] > plain["elements"]
    text = nibblesim(*arguments).stdout
    assert "int8-channel x int8-token; priced by synthesis mine.csv" in re.sub(r"\s+", " ", text)
    assert max(len(line) for line in text.splitlines()) <= WIDTH
    (cheap,) = rows_of(nibblesim("compare", "int8_mac", "--dram", "attacc_hbm", *QUICK, "--json"))
    assert cheap["dram_j"] < plain["dram_j"]
    assert cheap["latency_s"] == plain["latency_s"]


def test_per_area_a_smaller_array_is_denser_and_the_chip_less_so() -> None:
    arguments = ("compare", "int8_mac", "--iso", "elements", *QUICK, "--json")
    (found,) = rows_of(nibblesim(*arguments))
    array, chip = (found[f"speed_up_per_{part}_area"] for part in ("array", "chip"))
    assert array > 1.5 * found["speed_up"]
    assert found["speed_up"] < chip < 1.2 * found["speed_up"]


def test_iso_chip_and_waiting_are_those_of_compare() -> None:
    arguments = ("compare", "int8_mac", "--iso", "chip", "--waiting", "0.5", *QUICK, "--json")
    content = json.loads(nibblesim(*arguments).stdout)
    terms = Terms(iso="chip", waiting=0.5, rung="analytic")
    made = compared(load_element("int8_mac"), "int8xint8", DECODE, terms)
    (record,) = content["rows"]
    assert {name: record[name] for name in asdict(made)} == asdict(made)
    assert content["options"] == {
        **{"iso": "chip", "waiting": 0.5, "rung": "analytic"},
        **{"synthesis": None, "dram": None},
    }
    assert content["area_left_out"] == LEFT_OUT


def test_the_area_is_printed_by_part_and_what_is_left_out() -> None:
    result = nibblesim("compare", "lut_w2a8", "figna", *QUICK, "--workload", PREFILL)
    assert result.exit_code == 0, result.stderr
    *_, block = result.stdout.split("\n\n")
    title, heads, *lines = block.splitlines()
    assert title == "Area, mm2"
    assert heads.split()[2:] == [
        *("logic", "regs", "sums", "edges", "beside", "array"),
        *("lanes", "vector", "SRAM", "chip"),
    ]
    designs = lines[: lines.index(next(line for line in lines if line.startswith("  (")))]
    # One line a design, whatever it multiplies and for whatever workload.
    assert [line.split()[0] for line in designs] == ["fp16_fma", "lut_w2a8", "figna"]
    first, last = designs[0].split(), designs[-1].split()
    assert float(first[-1]) == pytest.approx(float(last[-1]), rel=0.01)
    assert float(first[5]) + sum(map(float, first[7:9])) == pytest.approx(float(first[-1]))
    assert all(f"{part}: " in block for part in LEFT_OUT)
    assert "placed (x 1.43)" in block
    assert max(len(line) for line in result.stdout.splitlines()) <= WIDTH


def test_of_a_chip_each_split_has_a_line() -> None:
    result = nibblesim("compare", "fp16_fma", "--iso", "chip", *QUICK, "--workload", PREFILL)
    assert result.exit_code == 0, result.stderr
    block = result.stdout.split("Area, mm2")[1].split("\n  (")[0]
    rows = [line.split() for line in block.splitlines()[2:]]
    assert {row[0] for row in rows} == {"fp16_fma"}
    assert len({tuple(row) for row in rows}) == len(rows) <= 2


def test_workloads_are_decode_and_prefill_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "compared", _made_up)
    found = rows_of(nibblesim("compare", "int8_mac", "--json"))
    assert [row["workload"] for row in found] == ["llama-2-7b/decode/1", "llama-2-7b/prefill/256"]
    assert found[0]["speed_up"] == 1


def _made_up(pe: Any, pair: str, workload: str, terms: Terms) -> Row:
    """Return a row as wide as rows get, without simulating."""
    weights, activations, _ = formats_of(pe, pair)
    return Row(
        pe=pe.name,
        weights=weights,
        activations=activations,
        workload=workload,
        elements=3396,
        array_mm2=0.9,
        chip_mm2=4.7,
        sqnr_db=-10.25,
        priced_by="gates",
        latency_s=0.2345,
        energy_j=0.6789,
        bound_by="dequantisation",
    )


def test_tables_of_all_elements_keep_to_the_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "compared", _made_up)
    result = nibblesim("compare", "int8_mac", "--against", "all")
    assert result.exit_code == 0
    assert max(len(line) for line in result.stdout.splitlines()) <= WIDTH
    for name in element_names():
        assert f"\n  {name} " in result.stdout
    assert result.stdout.count("(number: ") == 1
    assert "dequantisation  olive_int4-g128 x\n" in result.stdout


def test_the_table_has_a_line_a_row_and_names_the_baseline() -> None:
    result = nibblesim("compare", "mixpe_w4a8", *QUICK)
    assert result.exit_code == 0, result.stderr
    (row,) = rows_of(nibblesim("compare", "mixpe_w4a8", *QUICK, "--json"))
    title, heads, line, *_ = result.stdout.splitlines()
    assert title.startswith(f"{DECODE}; FP16 baseline: 768 of fp16_fma, ")
    assert heads.split()[:4] == ["PE", "number", "SQNR", "latency"]
    assert line.split()[:3] == ["mixpe_w4a8", str(row["elements"]), "20.0"]
    assert f" {row['speed_up']:.2f} " in line
    assert f" {row['energy_ratio']:.2f} " in line
    assert line.endswith(f"{row['bound_by']:8}  int4-g128 x int8-token")


def test_what_is_infeasible_has_a_row_and_infinite_numbers_are_null() -> None:
    large = changed(load_element("int8_mac"), {"name": "large", "micro_tile": [64, 64, 8]})
    Path("large.yaml").write_text(dump_yaml(large), encoding="utf-8")
    large_row, small_row = rows_of(
        nibblesim("compare", "large.yaml", "--against", "int8_mac", *QUICK, "--json")
    )
    assert large_row["latency_s"] is large_row["energy_j"] is large_row["energy_ratio"] is None
    assert large_row["speed_up"] == 0
    assert large_row["infeasible"].startswith("PE 'large': a column takes ")
    assert small_row["infeasible"] == ""
    text = nibblesim("compare", "large.yaml", *QUICK)
    assert text.exit_code == 3
    assert "infeasible: PE 'large'" in re.sub(r"\s+", " ", text.stdout)
    assert max(len(line) for line in text.stdout.splitlines()) <= WIDTH


def test_infinite_sqnr_is_null(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = lambda *given: replace(_made_up(*given), sqnr_db=inf)  # noqa: E731
    monkeypatch.setattr(compare, "compared", exact)
    (row,) = rows_of(nibblesim("compare", "int8_mac", *QUICK, "--json"))
    assert row["sqnr_db"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("compare", "bitmd"), "unknown PE 'bitmd'; did you mean 'bitmod'?"),
        (("compare", "bitmod", "--against", "al"), "unknown PE 'al'; did you mean 'all'?"),
        (
            ("compare", "bitmod", "--iso", "aera"),
            "unknown --iso 'aera'; did you mean 'area'? known: area, chip, elements",
        ),
        (
            ("compare", "bitmod", "--dram", "mixpee"),
            "unknown DRAM energy 'mixpee'; did you mean 'mixpe'?",
        ),
        (("explain", "bitmod", "int8_mac", "--synthesis", "none.csv"), "none.csv: "),
        (
            ("compare", "bitmod", "--synthesis", "slip.csv"),
            "slip.csv: unknown PE 'bitmd'; did you mean 'bitmod'?",
        ),
        (
            ("explain", "bitmod", "int8_mac", "--synthesis", "slip.csv"),
            "slip.csv: unknown PE 'bitmd'; did you mean 'bitmod'?",
        ),
        (("compare", "bitmod", "--waiting", "2"), "waiting must be between 0 and 1, got 2"),
        (
            ("explain", "bitmod", "int8_mac", "--waiting", "-1"),
            "waiting must be between 0 and 1, got -1",
        ),
        (
            ("explain", "bitmod", "int8_mac", "--iso", "chips"),
            "unknown --iso 'chips'; did you mean 'chip'? known: area, chip, elements",
        ),
        (
            ("compare", "int8_mac", "--workload", "llama-2-7b"),
            "workload 'llama-2-7b': expected MODEL/prefill/SEQUENCE or MODEL/decode/BATCH",
        ),
        (("compare", "int8_mac", "--rung", "tiel"), "unknown rung 'tiel'; did you mean 'tile'?"),
        (
            ("compare", "plain.yaml"),
            "PE 'plain': int4xint8 has no kernel whose operations could be counted",
        ),
        (
            ("explain", "int8_mac", "bitmod:int7xfp16"),
            "unknown pair of PE 'bitmod' 'int7xfp16'; did you mean 'int8xfp16'? "
            "known: bitmod3xfp16, bitmod4xfp16, int6xfp16, int8xfp16",
        ),
        (
            ("explain", "int8_mac", "plain.yaml"),
            "PE 'plain': int4xint8 has no kernel whose operations could be counted",
        ),
    ],
)
def test_wrong_input_is_refused(arguments: tuple[str, ...], message: str) -> None:
    Path("plain.yaml").write_text("name: plain\nformats: {int4xint8: 1}\nsource: test\n")
    Path("slip.csv").write_text("pe,pair,area_um2,energy_pj\nbitmd,int6xfp16,400,0.3\n")
    result = nibblesim(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.strip().startswith(message)
    as_json = nibblesim(*arguments, "--json")
    assert as_json.exit_code == 2
    (problem,) = json.loads(as_json.stdout)["problems"]
    assert problem.startswith(message)


def test_what_cannot_be_priced_is_refused_before_anything_is_simulated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path("plain.yaml").write_text("name: plain\nformats: {int4xint8: 1}\nsource: test\n")
    begun = list[str]()
    monkeypatch.setattr(compare, "compared", lambda pe, *given, **options: begun.append(pe.name))
    result = nibblesim("compare", "int8_mac", "plain.yaml", *QUICK)
    assert result.exit_code == 2
    assert result.stderr.startswith("PE 'plain': int4xint8 has no kernel")
    assert begun == []


def test_explain_prints_every_step_and_the_product() -> None:
    arguments = ("explain", "fp16_fma", "bitmod:bitmod4xfp16", *QUICK)
    result = nibblesim(*arguments)
    assert result.exit_code == 0, result.stderr
    content = json.loads(nibblesim(*arguments, "--json").stdout)
    assert (content["a"], content["b"]) == ("fp16_fma:fp16xfp16", "bitmod:bitmod4xfp16")
    assert len(content["steps"]) == STEPS
    lines = result.stdout.splitlines()
    assert max(len(line) for line in lines) <= WIDTH
    for step in content["steps"]:
        assert any(
            line.startswith(f"  {step['mechanism']} ") and f" {step['elements']} " in line
            for line in lines
        )
    (product,) = (line for line in lines if line.startswith("  product "))
    assert product.split()[1:3] == [
        f"{content['speed_up']:.3f}",
        f"{content['energy_gain']:.3f}",
    ]
    first, last = content["steps"][0], content["steps"][-1]
    assert content["speed_up"] == pytest.approx(first["latency_s"] / last["latency_s"], rel=1e-12)


def test_explain_says_what_is_infeasible() -> None:
    large = changed(load_element("int8_mac"), {"name": "large", "micro_tile": [64, 64, 8]})
    Path("large.yaml").write_text(dump_yaml(large), encoding="utf-8")
    result = nibblesim("explain", "int8_mac", "large.yaml", *QUICK, "--json")
    assert result.exit_code == 3
    assert json.loads(result.stdout)["resource"] == "array area"


def test_a_bar_counts_designs(monkeypatch: pytest.MonkeyPatch) -> None:
    from contextlib import contextmanager

    from simulator.cli import output

    seen: dict[str, int] = {}

    @contextmanager
    def counted(count: int, *words: str, what: str = "designs") -> Any:
        seen["count"], seen["done"] = count, 0

        def done() -> None:
            seen["done"] += 1

        yield done

    monkeypatch.setattr(output, "progress", counted)
    assert nibblesim("compare", "bitmod", *QUICK, "--json").exit_code == 0
    assert seen == {"count": 5, "done": 5}
    assert nibblesim("explain", "fp16_fma", "int8_mac", *QUICK, "--json").exit_code == 0
    assert seen == {"count": STEPS, "done": STEPS}


README_COMMANDS = re.findall(r"^    (nibblesim .*)$", SECTION, re.MULTILINE)


@pytest.mark.parametrize("command", README_COMMANDS, ids=lambda text: text.replace("/", ""))
def test_commands_of_the_readme_run(command: str) -> None:
    """With a small model, and fewer others."""
    words = shlex.split(command)[1:]
    words = ["ant" if word == "all" else word.replace("llama-2-7b", "tiny.yaml") for word in words]
    workload = [] if "--workload" in words else ["--workload", DECODE]
    result = nibblesim(*words, *workload)
    assert result.exit_code == 0, result.stderr
    assert result.stdout


def test_the_readme_shows_both_commands_and_an_element_of_ones_own() -> None:
    assert {command.split()[1] for command in README_COMMANDS} == {"compare", "explain"}
    assert "nibblesim compare my_pe.yaml --against all" in README_COMMANDS
    assert load_element("my_pe.yaml").kernels == {"int4xint8": "truncated"}
