"""Are layouts, matrices and programs that are wrong refused, with which words?"""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from simulator.errors import InputError
from simulator.hardware.equations import PimTicks
from simulator.mapping.pim_layout import Geometry, Layout, Shape, load_layout, placed
from simulator.mapping.pim_program import counts_of, program
from simulator.mapping.pim_search import search
from simulator.mapping.pim_storage import KeysAndValues, append, most_tokens, shared_weights

GEOMETRY = {
    "channels": 2,
    "groups": 2,
    "banks": 4,
    "rows": 8,
    "bursts_per_row": 4,
    "burst_bytes": 32,
    "buffer_bytes": 64,
    "sums_bytes": 2,
    "read_bytes": 32,
}
SHAPE = Shape(outputs=16, inputs=64)
ROWS = [["row", "inputs"], ["row", "outputs"]]


def refused(call: Callable[[], object]) -> list[str]:
    with pytest.raises(InputError) as caught:
        call()
    return [*caught.value.problems]


def own(*splits: Any) -> Layout:
    return Layout(name="own", summary="own", source="own", splits=splits)


def place(*splits: Any, shape: Shape = SHAPE, **changes: Any) -> Any:
    return placed(own(*splits), shape, Geometry(**{**GEOMETRY, **changes}))


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ([["bnak", "inputs"], *ROWS], "Layout: splits[0].level: unknown level 'bnak'; did you mean 'bank'? known: bank, burst, channel, group, lane, row"),
        ([["bank", "input"], *ROWS], "Layout: splits[0].dimension: unknown dimension 'input'; did you mean 'inputs'? known: inputs, matrices, outputs"),
        ([["bank", "inputs", 0], *ROWS], "Layout: splits[0].factor: must be >= 1, got 0"),
        ([["bank"], *ROWS], "Layout: splits[0]: expected 2 or 3 entries (level, dimension, factor), got 1"),
        ([["row", "inputs"]], "Layout: splits: outputs are not split"),
        ([["row", "matrices"]], "Layout: splits: outputs are not split; inputs are not split"),
        ([["row", "inputs"], ["bank", "outputs", 4]], "Layout: splits: [1]: the last split of outputs takes the rest, it has no factor, got 4"),
    ],
)  # fmt: skip
def test_refused_layouts(splits: list[Any], message: str) -> None:
    assert refused(lambda: own(*splits)) == [message]


def test_an_unknown_layout() -> None:
    (message,) = refused(lambda: load_layout("neupim_k"))
    assert (
        message
        == "unknown layout 'neupim_k'; did you mean 'neupims_k'? known: aim, attacc_k, attacc_v, duplex_k, duplex_v, duplex_w, hbm_pim, neupims_k, neupims_v, pim_gpt"
    )


def test_a_file_of_a_layout_names_the_split(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(
        "name: own\nsummary: own\nsource: own\nsplits: [[row, inputs], [row, output]]\n"
    )
    assert refused(lambda: load_layout(str(path))) == [
        f"{path}: splits[1].dimension: unknown dimension 'output'; did you mean 'outputs'? known: inputs, matrices, outputs"
    ]


@pytest.mark.parametrize(
    ("call", "messages"),
    [
        (lambda: Shape(outputs=0, inputs=-1), ["outputs must be >= 1, got 0", "inputs must be >= 1, got -1"]),
        (lambda: Shape(outputs=1, inputs=1, scale_bits=Fraction(-1, 2)), ["scale_bits must be >= 0, got -1/2"]),
        (lambda: Geometry(**{**GEOMETRY, "banks": 0}), ["banks must be >= 1, got 0"]),
        (lambda: place(["bank", "outputs", 8], *ROWS), ["layout own: splits[0]: 8 outputs for each bank, 4 are left of 4"]),
        (lambda: place(["bank", "inputs", 2], ["bank", "outputs", 4], *ROWS), ["layout own: splits[1]: 4 outputs for each bank, 2 are left of 4"]),
        (lambda: place(["row", "inputs"], ["bank", "outputs"]), ["layout own: splits[1]: 16 outputs for each bank, 4 are left of 4"]),
        (lambda: place(*ROWS), ["layout own: a matrix of 16 x 64 needs 1024 rows of each bank, 8 are there"]),
        (lambda: place(["bank", "outputs"], *ROWS, ["row", "matrices"], shape=Shape(outputs=16, inputs=4, matrices=3)), ["layout own: a matrix of 3 x 16 x 4 needs 48 rows of each bank, 8 are there"]),
        (lambda: place(*ROWS, shape=Shape(outputs=2, inputs=4, matrices=3)), ["layout own: is of one matrix, got 3"]),
        (lambda: place(*ROWS, shape=Shape(outputs=2, inputs=4, value_bits=512)), ["a value of 512 bits and its scales of 0 need more than a burst of 32 bytes or a row of 4"]),
        (lambda: place(*ROWS, shape=Shape(outputs=2, inputs=4, value_bits=4, scale_bits=Fraction(16))), ["a value of 4 bits and its scales of 16 need more than a burst of 32 bytes or a row of 4"]),
        (lambda: place(["lane", "inputs"], ["bank", "outputs"], *ROWS, rows=64).place(16, [0, 64]), ["outputs must be 0 to 15, got 16", "inputs must be 0 to 63, got 64"]),
    ],
)  # fmt: skip
def test_refused_matrices(call: Callable[[], object], messages: list[str]) -> None:
    assert refused(call) == messages


def aim(**changes: Any) -> Any:
    return placed(load_layout("aim"), SHAPE, Geometry(**{**GEOMETRY, **changes}))


@pytest.mark.parametrize(
    ("call", "messages"),
    [
        (lambda: program(aim(), vectors=0, vectors_held=-1), ["vectors must be >= 1, got 0", "vectors_held must be >= 1, got -1"]),
        (lambda: counts_of(aim(), held="result"), ["unknown held 'result'; did you mean 'results'? known: inputs, results"]),
        (lambda: program(aim(buffer_bytes=30)), ["layout aim: a multiply needs 16 values of each of 1 vectors, a buffer of 30 bytes holds 15"]),
        (lambda: program(aim(), vectors=3, vectors_held=3), ["layout aim: a multiply needs 16 values of each of 3 vectors, a buffer of 64 bytes holds 10", "layout aim: a multiply needs 6 bytes for sums of 3 vectors, a bank keeps 2"]),
        (lambda: counts_of(aim(lanes_added=False)), ["layout aim: a multiply needs 32 bytes for sums of 1 vectors, a bank keeps 2"]),
        (lambda: append(aim(), "outputs", 16), ["outputs must be 0 to 15, got 16"]),
        (lambda: append(aim(), "matrices", 0), ["dimension must be outputs or inputs, got 'matrices'"]),
        (lambda: shared_weights(aim(), 0, 0), ["tile_outputs must be >= 1, got 0", "tile_inputs must be >= 1, got 0"]),
        (lambda: most_tokens(load_layout("neupims_k"), load_layout("neupims_v"), KeysAndValues(layers=1, heads=1, head_dim=64), Geometry(**GEOMETRY), requests=0), ["requests must be >= 1, got 0"]),
        (lambda: most_tokens(load_layout("attacc_k"), load_layout("attacc_v"), KeysAndValues(layers=1, heads=1, head_dim=64), Geometry(**GEOMETRY)), ["layout attacc_k: splits[2]: 16 outputs for each bank, 1 are left of 4"]),
    ],
)  # fmt: skip
def test_refused_programs(call: Callable[[], object], messages: list[str]) -> None:
    assert refused(call) == messages


def ticks(_: object) -> PimTicks:
    return PimTicks(*([1] * len(PimTicks._fields)))


@pytest.mark.parametrize(
    ("shape", "changes", "messages"),
    [
        (Shape(outputs=4096, inputs=4096), {}, ["gemv of 4096 x 4096 needs 16384 rows of each bank, 8 are there"]),
        (Shape(outputs=64, inputs=64, matrices=9), {}, ["gemv of 9 x 64 x 64 needs 36 rows of each bank, 8 are there"]),
        (SHAPE, {"sums_bytes": 1}, ["layout lane 16 inputs, burst 4 inputs, bank 4 outputs, group 2 outputs, channel 2 outputs: a multiply needs 2 bytes for sums of 1 vectors, a bank keeps 1"]),
    ],
)  # fmt: skip
def test_refused_searches(shape: Shape, changes: dict[str, int], messages: list[str]) -> None:
    assert refused(lambda: search(shape, Geometry(**{**GEOMETRY, **changes}), ticks)) == messages
