"""Does a user's own Python file give an element its passes, gates, check and row, and only it?"""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from simulator.api import load_device, simulate
from simulator.cli import app
from simulator.compare import load_element
from simulator.config import content_hash, dump_yaml, load_part, replace, resolved
from simulator.cost import load_technology
from simulator.formats import get
from simulator.hardware.matrix import PE_FOLDER, ProcessingElement
from simulator.hardware.pricing import element_cost, mac_pj
from simulator.numerics.element import work
from simulator.numerics.verify import Request, verify, verify_all
from simulator.workload import gemm

#: Products by AND of one bit of the weights a pass, so that its sums are exact.
PLANES = """
from simulator.numerics.word import bit, masked, note_passes

EXACT = ("planes",)

def planes(activations, weights, total, bits):
    note_passes(activations, bits[1])
    for place in range(bits[1]):
        row = 0
        for x, w in zip(activations, weights, strict=True):
            row = masked(x, bit(w, place)) + row
        last = place == bits[1] - 1
        total = total - (row << place) if last else total + (row << place)
    return total

def planes_kernel(activations, weights, bits):
    rows = [(activations << place) @ (weights >> place & 1).T for place in range(bits[1])]
    return sum(rows[:-1]) - rows[-1]
"""

#: FP16 times a small integer, and sums, all rounded to FP16 one after the other.
HALVES = """
import numpy as np

def halves(activations, weights, total, bits):
    for x, w in zip(activations, weights, strict=True):
        total = total + x * w
    return total

def halves_kernel(activations, weights, bits):
    total = np.zeros((len(activations), len(weights)), np.float32)
    for k in range(activations.shape[1]):
        total += activations[:, k, None] * weights[:, k].astype(np.float16)
    return total
"""


def element(code: str, pairs: dict[str, str], **more: Any) -> Path:
    """Write own.py and own.yaml, return the latter."""
    Path("own.py").write_text(code, encoding="utf-8")
    data = {
        **{"name": "own", "summary": "of a test", "python": "own.py", "source": "test"},
        **{"formats": dict.fromkeys(pairs, "counted"), "kernels": pairs, **more},
    }
    Path("own.yaml").write_text(yaml.safe_dump(data), encoding="utf-8")
    return Path("own.yaml")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def planes() -> ProcessingElement:
    pairs = {"int2xint8": "planes", "int4xint8": "planes", "int8xint8": "int8_mac"}
    return load_element(str(element(PLANES, pairs, micro_tile=[1, 1, 4])))


def test_passes_and_operations_are_those_of_the_specification(planes: ProcessingElement) -> None:
    assert [planes.passes(pair) for pair in planes.formats] == [2, 4, 1]
    done = work(planes.kernel("int4xint8"), 4, get("int4"), get("int8"))
    # Four rows a plane: masks of 8 bits, four additions (the first to 0), one to the sum.
    assert done.passes == 4
    assert done.operations["mask", 8] == 16
    assert sum(count for (name, _), count in done.operations.items() if name == "add") == 20
    assert not done.shared
    assert planes.shared_operations("int4xint8") == planes.scale_passes("int4xint8") == 0


def test_area_and_energy_are_counted_from_it(planes: ProcessingElement) -> None:
    technology = load_technology("scaled_28nm")
    narrow, wide = (mac_pj(planes, f"int{bits}xint8", technology) for bits in (2, 4))
    assert 1.5 * narrow < wide < 2.5 * narrow
    assert element_cost(planes, "int4xint8", technology).area_um2 > 0


def test_an_edited_specification_moves_passes_and_costs_and_hash(
    planes: ProcessingElement,
) -> None:
    technology = load_technology("scaled_28nm")
    before = mac_pj(planes, "int4xint8", technology)
    # As long, and within the same second: no stale bytecode, no stale memory.
    changed = PLANES.replace(
        "note_passes(activations, bits[1])", "note_passes(activations, bits[0])"
    )
    assert len(changed) == len(PLANES)
    Path("own.py").write_text(changed, encoding="utf-8")
    edited = load_element("own.yaml")
    assert edited.passes("int4xint8") == 8
    assert mac_pj(edited, "int4xint8", technology) != before
    assert content_hash(edited) != content_hash(planes)
    assert edited != planes


def test_it_goes_round_through_its_resolved_form(
    planes: ProcessingElement, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert resolved(planes)["python"].keys() == {"file", "digest"}
    assert replace(planes, {}) == planes
    assert replace(planes, {"summary": "another"}).kernel("int4xint8") == planes.kernel("int4xint8")
    Path("again.yaml").write_text(dump_yaml(planes), encoding="utf-8")
    assert load_part(ProcessingElement, "again.yaml", PE_FOLDER) == planes
    # The file is named from that of the element.
    monkeypatch.chdir(folder.parent)
    other = load_element(f"{folder.name}/own.yaml")
    assert other.python is not None
    assert planes.python is not None
    assert other.python.file == f"{folder.name}/own.py"
    assert other.python.digest == planes.python.digest


def test_kernels_are_checked_against_the_specification_and_integers(
    planes: ProcessingElement,
) -> None:
    for pair, weights in (("int2xint8", "int2-g32"), ("int4xint8", "int4-g32-asym")):
        check = verify(planes.kernel(pair), (5, 9, 100), weights, "int8-token")
        assert check.bit_exact
        assert check.name == "own.py:planes"
        assert check.reference == "specification (45), exact integers and bound (all)"


def test_a_kernel_that_is_not_exact_is_found(planes: ProcessingElement) -> None:
    # Specification and kernel agree, and both lose a bit.
    wrong = PLANES.replace("return total\n", "return total // 2 * 2\n").replace(
        "return sum(rows[:-1]) - rows[-1]", "return (sum(rows[:-1]) - rows[-1]) // 2 * 2"
    )
    pe = load_element(str(element(wrong, {"int4xint8": "planes"})))
    assert not verify(pe.kernel("int4xint8"), (5, 9, 100)).bit_exact
    Path("own.py").write_text(wrong.replace("EXACT", "LOSSY"), encoding="utf-8")
    assert verify(load_element("own.yaml").kernel("int4xint8"), (5, 9, 100)).bit_exact


def test_it_is_known_in_other_processes(planes: ProcessingElement) -> None:
    names = [planes.kernel("int4xint8"), "int8_mac"]
    found = verify_all(Request((2, 3, 128)), names=names)
    assert [(check.name, check.bit_exact) for check in found] == [
        ("own.py:planes", True),
        ("int8_mac", True),
    ]


def test_activations_in_fp16_are_given_as_such() -> None:
    pe = load_element(str(element(HALVES, {"int4xfp16": "halves", "ternaryxfp16": "halves"})))
    for pair, weights in (("int4xfp16", "int4-g32"), ("ternaryxfp16", "ternary-tensor")):
        assert verify(pe.kernel(pair), (5, 9, 100), weights, "fp16").bit_exact
    done = work(pe.kernel("int4xfp16"), 1, get("int4"), get("fp16"))
    assert dict(done.operations) == {("mul", "fp16"): 1, ("add", "fp32"): 1}


def test_it_has_a_row_beside_the_others_and_a_waterfall(planes: ProcessingElement) -> None:
    quick = ["--workload", "gpt-2/decode/1", "--rung", "roofline", "--json"]
    result = CliRunner().invoke(app, ["compare", "own.yaml", "--against", "abq_planes", *quick])
    assert result.exit_code == 0, result.stderr
    rows = json.loads(result.stdout)["rows"]
    own, other = (
        next(row for row in rows if (row["pe"], row["weights"]) == (name, "int4-g128"))
        for name in ("own", "abq_planes")
    )
    assert own["elements"] > 0
    assert own["latency_s"] > 0
    # Both are exact.
    assert own["sqnr_db"] == pytest.approx(other["sqnr_db"], abs=0.1)
    result = CliRunner().invoke(app, ["explain", "fp16_fma", "own.yaml:int4xint8", *quick])
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["b"] == "own:int4xint8"


def test_the_command_checks_every_pair_of_an_element(planes: ProcessingElement) -> None:
    result = CliRunner().invoke(app, ["verify", "own.yaml", "--shape", "2x3x128", "--json"])
    found = json.loads(result.stdout)["checks"]
    assert [(each["name"], each["weight_format"], each["bit_exact"]) for each in found] == [
        ("own.py:planes", "int2-g128", True),
        ("own.py:planes", "int4-g128", True),
        ("int8_mac", "int8-channel", True),
    ]


def test_a_device_takes_it_and_computes_its_tiles(planes: ProcessingElement) -> None:
    matrix = {"kind": "adder_tree", "pe": "own.yaml", "rows": 4, "columns": 8, "source": "test"}
    profile = "horowitz_45nm"
    device = replace(load_device("generic_npu_128"), {"matrix": matrix, "energy": profile})
    product = gemm(8, 16, 128, weights="int4-g32", activations="int8-token")
    result = simulate(device, product, verify=True)
    (tile,) = result.numerics
    assert (tile.datapath, tile.bit_exact) == ("own.py:planes", True)
    assert result.resolved["device"]["matrix"]["pe"]["python"]["file"] == "own.py"
