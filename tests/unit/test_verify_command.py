"""The command `verify`: what it prints, draws and refuses, and all checks in processes."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from typer.testing import CliRunner, Result

from simulator.cli import app
from simulator.errors import InputError
from simulator.numerics.verify import NAMES, Request, verify, verify_all

SMALL = ("--shape", "2x3x64")


def nibblesim(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["verify", *arguments], prog_name="nibblesim")


def test_checks_in_processes_are_those_made_here_in_the_order_of_names() -> None:
    """The first takes longest, so that others are done before it."""
    request, ticks, names = Request((2, 3, 64)), list[int](), ("pim_bf16", "shiftmax", "lut")
    found = verify_all(request, lambda: ticks.append(1), names)
    assert [one.name for one in found] == list(names)
    assert len(ticks) == len(names)
    for one in found:
        here = verify(one.name, (2, 3, 64))
        assert dataclasses.replace(one, seconds=0) == dataclasses.replace(here, seconds=0)


def test_an_error_in_a_process_is_the_same_error_here() -> None:
    with pytest.raises(InputError) as error:
        verify_all(Request((0, 1, 1)), None, ("mixpe", "lut"))
    assert error.value.problems == ("shape: M, N and K must be >= 1, got 0x1x1",)


def test_json_has_histogram_zeroed_fraction_and_overflows() -> None:
    (found,) = json.loads(nibblesim("mixpe", *SMALL, "--json").stdout)["checks"]
    assert len(found["errors"]["edges"]) == len(found["errors"]["counts"])
    assert sum(found["errors"]["counts"]) == 6
    assert 0 < found["zeroed_fraction"] < 0.5
    assert found["overflows"] == {"operands": 0, "outputs": 0}
    assert 0 < found["quantisation_sqnr_db"] < found["sqnr_db"]


def test_a_function_has_a_row_and_an_object() -> None:
    (found,) = json.loads(nibblesim("hawq_requantise", *SMALL, "--json").stdout)["checks"]
    assert (found["weight_format"], found["shape"]) == (None, [2, 3, 1])
    assert "hawq_requantise  yes" in nibblesim("hawq_requantise", *SMALL).stdout
    listed = json.loads(nibblesim("--json").stdout)["datapaths"]
    assert [one["name"] for one in listed] == list(NAMES)


def test_outputs_that_overflow_are_counted(tmp_path: Path) -> None:
    np.save(tmp_path / "w.npy", np.full((2, 128), 60000.0))
    result = nibblesim("pim_fp16", *SMALL, "--data", str(tmp_path / "w.npy"), "--json")
    (found,) = json.loads(result.stdout)["checks"]
    assert found["overflows"]["outputs"] == 4
    assert found["errors"]["counts"][-1] == 4
    assert found["max_ulp"] is None


def test_tensors_are_chosen_by_suffix_or_option(tmp_path: Path) -> None:
    file = tmp_path / "m.safetensors"
    save_file({"a": np.ones((3, 64), np.float16), "b": np.ones((5, 96), np.float32)}, file)
    for arguments in (("--data", f"{file}:b"), ("--data", str(file), "--tensor", "b")):
        (found,) = json.loads(nibblesim("mixpe", *SMALL, *arguments, "--json").stdout)["checks"]
        assert found["shape"] == [2, 5, 96]


def test_a_picture_is_drawn_where_the_folder_is_made(tmp_path: Path) -> None:
    file = tmp_path / "new" / "errors.png"
    assert nibblesim("mixpe", *SMALL, "--picture", str(file)).exit_code == 0
    assert file.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--picture", "a.png"), "--picture needs a datapath or --all"),
        (("mixpe", "--picture", "a.jpg"), "a.jpg: a picture ends in .png, .pdf, .svg"),
        (("mixpe", "--tensor", "w"), "--tensor needs --data FILE.safetensors"),
        (
            ("mixpe", "--data", "m.safetensors:w", "--tensor", "w"),
            "give --data FILE.safetensors:TENSOR or --tensor, not both",
        ),
        (
            ("mixpe", "--data", "m.safetensors:w"),
            "m.safetensors: cannot be read: No such file or directory",
        ),
        (
            ("shiftmax", "--weight-format", "int4"),
            "shiftmax: a function has no weights: leave out --weight-format",
        ),
    ],
)
def test_refusals(arguments: tuple[str, ...], message: str) -> None:
    result = nibblesim(*arguments)
    assert result.exit_code == 2
    assert result.stderr == f"{message}\n"
