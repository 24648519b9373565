"""Is a user's Python file that does not do refused, with which words, and without a traceback?"""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from simulator.cli import app
from simulator.compare import load_element
from simulator.errors import InputError
from simulator.formats import get
from simulator.numerics.element import work
from simulator.numerics.verify import verify

GOOD = """
def own(activations, weights, total, bits):
    for x, w in zip(activations, weights, strict=True):
        total = total + x * w
    return total

def own_kernel(activations, weights, bits):
    return activations @ weights.T
"""
KERNEL = "return activations @ weights.T"
SUM = "total = total + x * w"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def element(code: str | None, **changes: Any) -> str:
    """Write my_pe.py (None: no file) and my_pe.yaml with changes, return the latter's name."""
    if code is not None:
        Path("my_pe.py").write_text(code, encoding="utf-8")
    data = {
        **{"name": "mine", "python": "my_pe.py", "source": "test"},
        **{"formats": {"int4xint8": "counted"}, "kernels": {"int4xint8": "own"}},
        **changes,
    }
    Path("my_pe.yaml").write_text(yaml.safe_dump(data), encoding="utf-8")
    return "my_pe.yaml"


def pairs(name: str, pair: str = "int4xint8") -> dict[str, Any]:
    return {"formats": {pair: "counted"}, "kernels": {pair: name}}


#: What the file holds, what the element says, and the message.
LOADING: dict[str, tuple[str | None, dict[str, Any], str]] = {
    "no file": (None, {}, "python: my_pe.py: cannot be read: No such file or directory"),
    "no path": (GOOD, {"python": 3}, "python: expected a mapping, got 3"),
    "syntax": ("x = (\n", {}, "my_pe.py: cannot be imported: line 1: SyntaxError: '(' was never closed"),
    "error": ("a = 1\nb = c\n", {}, "my_pe.py: cannot be imported: line 2: NameError: name 'c' is not defined"),
    "import": ("import nothing_such\n", {}, "my_pe.py: cannot be imported: line 1: ModuleNotFoundError: No module named 'nothing_such'"),
    "exit": ("raise SystemExit\n", {}, "my_pe.py: cannot be imported: line 1: SystemExit"),
    "stop": ("class Stop(BaseException): pass\nraise Stop('now')\n", {}, "my_pe.py: cannot be imported: line 2: Stop: now"),
    "mute": ("class Mute(Exception):\n    def __str__(self): raise ValueError\nraise Mute\n", {}, "my_pe.py: cannot be imported: line 3: Mute"),
    "gone": ("import sys\ndel sys.modules[__name__]\nraise SystemExit(3)\n", {}, "my_pe.py: cannot be imported: line 3: SystemExit: 3"),
    "nul": (f"{GOOD}\0", {}, "my_pe.py: cannot be imported: SyntaxError: source code string cannot contain null bytes"),
    "nul in the name": (GOOD, {"python": "my\0.py"}, "python: my\0.py: cannot be read: embedded null byte"),
    "no kernel": (GOOD.replace("own_kernel", "kernel"), {}, "my_pe.py: datapath 'own' lacks the function own_kernel"),
    "no specification": (GOOD.replace("def own(", "def specification("), {}, "my_pe.py: datapath 'own' lacks the function own"),
    "neither": (GOOD, pairs("ownn"), "my_pe.py: unknown datapath 'ownn'; did you mean 'own'? known: own"),
    "clash": (GOOD.replace("own", "lut"), pairs("lut"), "my_pe.py: 'lut' is a datapath that comes with nibblesim; rename it"),
    "clash with a function": (GOOD + GOOD.replace("own", "shift_gelu"), {}, "my_pe.py: 'shift_gelu' is a datapath that comes with nibblesim; rename it"),
    "unused": (GOOD, pairs("mixpe_w4a8"), "kernels name no datapath of my_pe.py; it has: own"),
    "nothing": ("", pairs("mixpe_w4a8"), "kernels name no datapath of my_pe.py; it has: none"),
    "exact": (GOOD + 'EXACT = ("on",)\n', {}, "my_pe.py: EXACT: unknown datapath 'on'; did you mean 'own'? known: own"),
    "exact is no tuple": (GOOD + "EXACT = True\n", {}, "my_pe.py: EXACT: expected a tuple of names, got True"),
    "exact are no names": (GOOD + "import numpy\nEXACT = (numpy.ones(2),)\n", {}, "my_pe.py: EXACT: expected names, got ndarray"),
    "pair": (GOOD, pairs("own", "int4xbf16"), "int4xbf16: a datapath of a file multiplies weights of int1 to int8 or ternary with activations of int1 to int8 or fp16, got int4 and bf16"),
    "wide pair": (GOOD, pairs("own", "int16xint8"), "int16xint8: a datapath of a file multiplies weights of int1 to int8 or ternary with activations of int1 to int8 or fp16, got int16 and int8"),
}  # fmt: skip


@pytest.mark.parametrize("case", LOADING)
def test_files_are_refused_as_the_element_is_loaded(case: str) -> None:
    code, changes, message = LOADING[case]
    with pytest.raises(InputError) as caught:
        load_element(element(code, **changes))
    assert str(caught.value) == f"my_pe.yaml: {message}"


#: A change of the good file, and the message of `verify`.
COMPUTING = {
    "raises": (KERNEL, "return activations @ weights", "my_pe.py: own_kernel: line 8: ValueError: "),
    "shape": (KERNEL, "return activations", "my_pe.py: own_kernel: expected an array (1, 1), got shape (1, 128)"),
    "no array": (KERNEL, "return 3", "my_pe.py: own_kernel: expected an array (1, 1), got int"),
    "floats": (KERNEL, "return (activations @ weights.T) / 2", "my_pe.py: own_kernel: expected integers, got float64"),
    "exit": (KERNEL, "raise SystemExit(3)", "my_pe.py: own_kernel: line 8: SystemExit: 3"),
    "closed": (SUM, "raise GeneratorExit", "my_pe.py: own: line 4: GeneratorExit"),
    "subclass": (KERNEL, "import numpy; return numpy.ma.array(activations @ weights.T)", "my_pe.py: own_kernel: expected an array (1, 1), got MaskedArray"),
    "long": (SUM, "total = total + (x << 63)", "my_pe.py: own: the sum does not fit in 64 bits"),
    "specification": (SUM, "total = total + x / y", "my_pe.py: own: line 4: NameError: name 'y' is not defined"),
    "nothing returned": ("    return total\n", "    pass\n", "my_pe.py: own: expected an integer, got NoneType"),
    "half": (SUM, "total = total + x / 2", "my_pe.py: own: expected an integer, got float"),
}  # fmt: skip


@pytest.mark.parametrize("case", COMPUTING)
def test_functions_that_fail_are_told(case: str) -> None:
    old, new, message = COMPUTING[case]
    pe = load_element(element(GOOD.replace(old, new)))
    with pytest.raises(InputError) as caught:
        verify(pe.kernel("int4xint8"), (2, 3, 256))
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


#: A change of the specification, and the message of counting.
COUNTING = {
    "plain": (SUM, "total = int(total) + int(x) * int(w)", "my_pe.py: own: counting operands in, int out: its operations cannot be counted"),
    "branch": (SUM, "total = total + (x * w if w else x)\n        total = total if isinstance(w, int) else total + x", "my_pe.py: own: 896 on counting operands, 1024 on the same plain numbers"),
    "passes": (SUM, "total = total + x * w\n    __import__('simulator.numerics.word').numerics.word.note_passes(activations, -5)", "my_pe.py: own: line 5: InputError: passes must be an integer from 1 to 1048576, got -5"),
    "exit": (SUM, "raise SystemExit", "my_pe.py: own: line 4: SystemExit"),
    "two kinds": (SUM, "total = total + x * w if not isinstance(w, int) else __import__('numpy').ones(2)", "my_pe.py: own: expected an integer, got ndarray"),
    "comparison": (SUM, "total = total + (x if w > 0 else -x)", "my_pe.py: own: line 4: TypeError: '>' not supported between instances of 'Word' and 'int'"),
}  # fmt: skip


@pytest.mark.parametrize("case", COUNTING)
def test_specifications_that_do_not_count_are_refused(case: str) -> None:
    old, new, message = COUNTING[case]
    # Passes are not counted, or loading would ask for them.
    pe = load_element(element(GOOD.replace(old, new), formats={"int4xint8": 1}))
    with pytest.raises(InputError) as caught:
        work(pe.kernel("int4xint8"), 1, get("int4"), get("int8"))
    assert str(caught.value) == message


def test_formats_that_a_datapath_does_not_take() -> None:
    halves = {"int4xint8": "own", "int4xfp16": "own"}
    code = GOOD + 'EXACT = ("own",)\n'
    pe = load_element(element(code, formats=dict.fromkeys(halves, 1), kernels=halves))
    for weights, activations, message in (
        ("int4-g128", "fp16", "fp16 has no exact integers: EXACT must not list own"),
        ("fp16", "int8-token", "weights must be int2 to int8 with a scale, got fp16"),
        ("ternary", "int8-token", "weights must be ternary with a scale, got ternary"),
        ("int4-g128", "int16-token", "activations must be symmetric and of 8 bits at most, got int16-token"),
    ):  # fmt: skip
        with pytest.raises(InputError) as caught:
            verify(pe.kernel("int4xint8"), (2, 3, 128), weights, activations)
        assert str(caught.value) == f"my_pe.py:own: {message}"
    Path("my_pe.py").write_text(GOOD, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        verify(
            load_element("my_pe.yaml").kernel("int4xfp16"), (2, 3, 128), "int4-g128-asym", "fp16"
        )
    assert str(caught.value) == "my_pe.py:own: weights must be symmetric, got int4-g128-asym"


def test_sums_of_fp16_are_floats() -> None:
    pe = load_element(element(GOOD.replace(SUM, "total = None"), **pairs("own", "int4xfp16") | {"formats": {"int4xfp16": 1}}))  # fmt: skip
    with pytest.raises(InputError) as caught:
        verify(pe.kernel("int4xfp16"), (2, 3, 128), "int4-g128", "fp16")
    assert str(caught.value) == "my_pe.py: own: expected a float, got NoneType"


def test_a_file_that_changes_after_it_was_read_is_refused() -> None:
    pe = load_element(element(GOOD))
    Path("my_pe.py").write_text(f"{GOOD}\n", encoding="utf-8")
    # Another process has not imported it yet.
    code = f"from simulator.numerics.own import arithmetic; arithmetic({pe.kernel('int4xint8')!r})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    message = "my_pe.py: has changed since it was read: load the processing element anew"
    assert run.stderr.rstrip().endswith(f"InputError: {message}")


def test_a_kernel_that_disagrees_has_no_row() -> None:
    file = element(GOOD.replace(KERNEL, f"{KERNEL} + 1"))
    result = CliRunner().invoke(app, ["compare", file, "--workload", "gpt-2/decode/1"])
    message = (
        "my_pe.py:own: kernel and specification disagree on int4-g128 x int8-token; nibblesim verify "
        "tells how far\n"
    )
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.endswith(message)
    checked = CliRunner().invoke(app, ["verify", file, "--shape", "2x3x128"])
    assert checked.exit_code == 1
    assert " NO " in checked.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["verify", "my_pe.yaml", "--weight-format", "int4-g64"],
            "my_pe.yaml: its pairs give the formats: leave out --weight-format and --activation-format",
        ),
        (["verify", "none.yaml"], "none.yaml: no such file"),
        (["verify", "plain.yaml"], "plain.yaml: kernels names no datapath that could be checked"),
        (
            ["compare", "broken.yaml"],
            "broken.yaml: my_pe.py: datapath 'other' lacks the function other_kernel",
        ),
    ],
)
def test_commands_say_it_in_one_line(arguments: list[str], message: str) -> None:
    element(f"{GOOD}\nother = own\n")
    mine = yaml.safe_load(Path("my_pe.yaml").read_text())
    Path("broken.yaml").write_text(yaml.safe_dump({**mine, "kernels": {"int4xint8": "other"}}))
    plain = {"name": "plain", "formats": {"int4xint8": 1}, "source": "test"}
    Path("plain.yaml").write_text(yaml.safe_dump(plain))
    result = CliRunner().invoke(app, arguments)
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"{message}\n")


@pytest.mark.parametrize("command", ["verify", "compare"])
def test_a_function_that_ends_the_program_is_bad_input(command: str) -> None:
    file = element(GOOD.replace(SUM, "raise SystemExit(0)"))
    result = CliRunner().invoke(app, [command, file])
    message = "my_pe.py: own: line 4: SystemExit: 0\n"
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", message)
