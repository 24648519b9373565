"""Do layouts put each value in a place of its own, and are counts those of places and programs?"""

from collections import Counter, defaultdict
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.config import dump_yaml, names
from simulator.dram.pim.aim import load_aim, run_gemv
from simulator.dram.pim.attacc_part import load_attacc
from simulator.dram.pim.attacc_program import Attention, program_of
from simulator.dram.pim.grouped_part import END, LOAD, RESULT, ROW
from simulator.dram.pim.hbm_pim_part import load_hbm_pim
from simulator.dram.pim.hbm_pim_program import (
    BANK,
    COLUMN,
    COMPUTES,
    COUNT,
    INPUT_COLUMN,
    Call,
    call_runs,
)
from simulator.dram.pim.hbm_pim_program import ROW as RUN_ROW
from simulator.dram.pim.neupims_part import load_neupims
from simulator.dram.pim.neupims_program import (
    COMPOSITE,
    FIRST_ROW,
    GWRITE,
    HEADER,
    STEPS,
    USE,
    rows_of,
    shape_of,
    stages,
)
from simulator.dram.pim.neupims_program import ROW as NEUPIMS_ROW
from simulator.mapping.pim_layout import (
    DIMENSIONS,
    LAYOUT_FOLDER,
    Geometry,
    Layout,
    Placement,
    Shape,
    load_layout,
    placed,
)
from simulator.mapping.pim_nest import HELD, Held
from simulator.mapping.pim_program import (
    Counts,
    channel_counts,
    counts_of,
    partial_sums,
    program,
)

SMALL = Geometry(
    channels=4,
    groups=2,
    banks=4,
    rows=200_000,
    bursts_per_row=4,
    burst_bytes=8,
    buffer_bytes=64,
    sums_bytes=8,
    read_bytes=16,
)
LEVEL = st.sampled_from(["lane", "burst", "bank", "group", "channel", "row"])
DIMENSION = st.sampled_from(DIMENSIONS)


def own(splits: list[Any], name: str = "own") -> Layout:
    return Layout(name=name, summary="of a test", source="of a test", splits=tuple(splits))


@st.composite
def placements(draw: st.DrawFn) -> Placement:
    """Return any small matrix by any layout with factors that the levels of the memory have."""
    room = {"lane": 4, "burst": 4, "bank": 4, "group": 2, "channel": 4, "row": 6}
    splits = list[Any]()
    for _ in range(draw(st.integers(0, 7))):
        level, factor = draw(LEVEL), draw(st.integers(1, 4))
        if factor <= room[level]:
            room[level] //= factor
            given = draw(st.booleans()) or level == "row"
            splits.append([level, draw(DIMENSION), *[factor][: int(given)]])
            if not given:
                room[level] = 0
    # Filled levels have no factor; they may not be given one behind.
    filled, kept = set(), list[Any]()
    for split in splits:
        if split[0] not in filled:
            kept.append(split)
        if len(split) == 2:
            filled.add(split[0])
    rest = draw(st.permutations([["row", dimension] for dimension in DIMENSIONS]))
    shape = Shape(
        outputs=draw(st.integers(1, 40)),
        inputs=draw(st.integers(1, 40)),
        matrices=draw(st.integers(1, 5)),
        scale_bits=draw(st.sampled_from([Fraction(0), Fraction(1, 2), Fraction(5)])),
    )
    geometry = Geometry(
        **{
            **vars(SMALL),
            "buffer_bytes": 2 * draw(st.sampled_from([256, 512, 1024])),
            "sums_bytes": draw(st.sampled_from([24, 32, 80])),
            "lanes_added": draw(st.booleans()),
            "buffer_in_banks": draw(st.booleans()),
        }
    )
    if shape.scale_bits:
        kept = [split for split in kept if split[0] != "burst" or len(split) == 2]
    return placed(own([*kept, *rest]), shape, geometry)


def everything(placement: Placement) -> tuple[Any, Any]:
    """Return the indexes of all values, and their places as one array."""
    index = np.indices(placement.sizes).reshape(3, -1)
    return index, np.stack(placement.place(*index), axis=1)


@given(placement=placements())
def test_each_value_has_a_place_of_its_own_in_the_memory(placement: Placement) -> None:
    _, places = everything(placement)
    assert len(np.unique(places, axis=0)) == placement.shape.values
    g = placement.geometry
    bounds = [g.channels, g.groups, g.banks, placement.rows, g.bursts_per_row, placement.lanes]
    assert (places >= 0).all()
    assert (places < bounds).all()


@given(placement=placements())
def test_counts_of_places_are_those_of_the_closed_form(placement: Placement) -> None:
    _, places = everything(placement)
    assert placement.bursts == len(np.unique(places[:, [0, 1, 3, 4]], axis=0))
    assert placement.rows_used == len(np.unique(places[:, [0, 1, 3]], axis=0))
    held = placement.bursts * placement.geometry.banks * placement.lanes
    assert placement.padding == pytest.approx(1 - len(places) / held)


@given(placement=placements())
def test_channels_have_what_lies_in_them(placement: Placement) -> None:
    index, places = everything(placement)
    found = Counter(
        tuple(len(np.unique(each)) for each in index[:, places[:, 0] == channel])
        for channel in np.unique(places[:, 0])
    )
    assert placement.channel_sizes() == found


@given(
    placement=placements(),
    held=st.sampled_from(HELD),
    vectors=st.integers(1, 7),
    vectors_held=st.integers(1, 3),
)
def test_counts_of_programs_are_those_of_the_closed_form(
    placement: Placement, held: Held, vectors: int, vectors_held: int
) -> None:
    given = {"vectors": vectors, "vectors_held": vectors_held, "held": held}
    total = Counts()
    for sizes, many in placement.channel_sizes().items():
        one = channel_counts(placement, sizes, **given)  # type: ignore[arg-type]
        total = total.plus(one, many)
    assert counts_of(placement, **given) == total  # type: ignore[arg-type]
    made = sum(
        (counted(each.entries, each.channels) for each in program(placement, **given)), Counter()
    )  # type: ignore[arg-type]
    assert made == Counter({name: n for name, n in vars(total).items() if name != "results"})
    assert total.results >= placement.shape.outputs * placement.shape.matrices * vectors


def counted(entries: Any, channels: int) -> Counter[str]:
    """Return what an engine makes of a program: a row is opened if it is not open."""
    found, rows, before = Counter[str](), dict[int, int](), END
    for kind, group, row, count in entries.tolist():
        if kind == LOAD:
            found.update(loads=1, writes=count)
        elif kind == RESULT:
            found.update(stops=int(before != RESULT), reads=count)
        elif kind == ROW:
            found.update(multiplies=count, openings=int(rows.get(group) != row))
            rows[group] = row
        before = kind
    return Counter({name: n * channels for name, n in found.items()})


@given(placement=placements(), held=st.sampled_from(HELD))
def test_programs_multiply_each_burst_of_a_channel_once(placement: Placement, held: Held) -> None:
    """Without scales, rows have as many multiplies as bursts; a channel that all are less than."""
    if placement.shape.scale_bits:
        return
    _, places = everything(placement)
    bursts = np.unique(places[:, [0, 1, 3, 4]], axis=0)
    found = Counter(
        tuple(sorted(Counter(map(tuple, bursts[bursts[:, 0] == channel, 1:3].tolist())).items()))
        for channel in np.unique(bursts[:, 0])
    )
    made = Counter[Any]()
    for entries, channels in program(placement, held=held):
        rows = defaultdict[tuple[int, int], int](int)
        for _, group, row, count in entries[entries[:, 0] == ROW].tolist():
            rows[group, row] += count
        made[tuple(sorted(rows.items()))] += channels
    assert made == found


def test_vectors_held_share_multiplies_but_not_loads_and_sums() -> None:
    placement = placed(load_layout("aim"), Shape(outputs=4096, inputs=4096), AIM)
    one, eight = (counts_of(placement, vectors=each) for each in (1, 8))
    assert vars(eight) == {name: 8 * n for name, n in vars(one).items()}
    wide = placed(load_layout("aim"), placement.shape, Geometry(**{**vars(AIM), "sums_bytes": 16}))
    held = counts_of(wide, vectors=8, vectors_held=8)
    assert held.multiplies == one.multiplies
    assert held.results == 8 * one.results
    assert held.writes == 8 * one.writes
    # The buffer has an eighth of the inputs of each, so rows are multiplied in pieces.
    assert held.loads == 8 * one.loads


def test_a_single_row_stays_open_between_vectors() -> None:
    placement = placed(load_layout("aim"), Shape(outputs=512, inputs=1024), AIM)
    assert counts_of(placement, vectors=5).openings == 32
    assert counts_of(placement, vectors=5).loads == 5 * 32


def test_scales_lie_at_the_end_of_rows() -> None:
    """16 bits for 128 values of 4 bits: a burst of scales for 32 of values."""
    shape = Shape(outputs=512, inputs=4096, value_bits=4, scale_bits=Fraction(16, 128))
    assert shape.scale_bytes == 512 * 4096 // 64
    placement = placed(load_layout("aim"), shape, AIM)
    assert placement.lanes == 64
    # 64 bursts of values and 2 of scales are more than a row, which has 62 and 2.
    assert (placement.bursts, placement.rows) == (32 * 64, 2)
    counts = channel_counts(placement, (16, 4096, 1))
    assert counts.multiplies == 62 + 2 + 2 + 1


#: GDDR6-AiM's 32 channels, NeuPIMs' and AttAcc's channels, and HBM-PIM's, even and odd banks apart.
AIM = Geometry(
    channels=32,
    groups=1,
    banks=16,
    rows=16384,
    bursts_per_row=64,
    burst_bytes=32,
    buffer_bytes=2048,
    sums_bytes=2,
    read_bytes=32,
)
NEUPIMS = Geometry(
    channels=32,
    groups=1,
    banks=32,
    rows=32768,
    bursts_per_row=32,
    burst_bytes=32,
    buffer_bytes=1024,
    sums_bytes=2,
    read_bytes=64,
)
ATTACC = Geometry(
    channels=16,
    groups=1,
    banks=64,
    rows=16384,
    bursts_per_row=32,
    burst_bytes=32,
    buffer_bytes=512,
    sums_bytes=32,
    read_bytes=64,
)
HBM_PIM = Geometry(
    channels=64,
    groups=2,
    banks=8,
    rows=16384,
    bursts_per_row=32,
    burst_bytes=32,
    buffer_bytes=256,
    sums_bytes=256,
    read_bytes=32,
    lanes_added=False,
)


@pytest.mark.parametrize("name", names(LAYOUT_FOLDER))
def test_shipped_layouts_are_read_back_as_they_are_written(name: str, tmp_path: Path) -> None:
    layout = load_layout(name)
    assert layout.name == name
    (tmp_path / "own.yaml").write_text(dump_yaml(layout))
    assert load_layout(str(tmp_path / "own.yaml")) == layout


@pytest.mark.parametrize(("out", "inputs"), [(512, 1024), (4096, 4096), (2048, 11008), (512, 48)])
@pytest.mark.parametrize("latches", [1, 2])
def test_aim_has_the_commands_of_its_program(out: int, inputs: int, latches: int) -> None:
    """Where latches come to nothing, as there is one output a bank, AiM reads both all the same."""
    geometry = Geometry(**{**vars(AIM), "sums_bytes": 2 * latches})
    placement = placed(load_layout("aim"), Shape(outputs=out, inputs=inputs), geometry)
    run = run_gemv(load_aim(), out, inputs, latches=min(latches, out // 512))
    counts = counts_of(placement, held="results")
    assert run.commands["MAC16"] == counts.multiplies == placement.bursts
    assert run.commands["WRGB"] == counts.writes
    assert run.commands["RDMAC16"] == counts.reads
    assert run.commands["ACT16"] == counts.openings
    assert counts.results == out
    assert partial_sums(placement, counts) == 0


def layer() -> list[tuple[Call, Shape, int]]:
    """Return Llama-2-7B's decode layer, batch 32, context 2048: calls, matrices, channels each."""
    hidden, inner, heads, batch, context = 4096, 11008, 32, 32, 2048
    weights = [*[(hidden, hidden)] * 4, *[(inner, hidden)] * 2, (hidden, inner)]
    listed = [
        (
            Call(kernel="gemv", out=out, inputs=inputs, batch=batch),
            Shape(outputs=out, inputs=inputs),
            64,
        )
        for out, inputs in weights
    ]
    for out, inputs in ((context, hidden // heads), (hidden // heads, context)):
        call = Call(kernel="gemv", out=out, inputs=inputs, matrices=batch, heads=heads)
        listed.append((call, Shape(outputs=out, inputs=inputs, matrices=batch), 64 // heads))
    return listed


def test_hbm_pim_has_the_multiplies_of_its_layer() -> None:
    """Its channels do the same, padding included: as many times what the busiest has."""
    total, part = 0, load_hbm_pim()
    for call, shape, channels in layer():
        geometry = Geometry(**{**vars(HBM_PIM), "channels": channels})
        placement = placed(load_layout("hbm_pim"), shape, geometry)
        counts = channel_counts(placement, max(placement.channel_sizes()), vectors=call.batch)
        runs = call_runs(part, call, 0)
        assert counts.multiplies == runs[runs[:, COMPUTES] == 1, COUNT].sum()
        loads = (runs[:, RUN_ROW] == part.modes.control_row) & (runs[:, COLUMN] == INPUT_COLUMN)
        assert counts.writes == runs[loads, COUNT].sum()
        total += counts.multiplies * 64
    assert total == 57_409_536


def test_hbm_pim_has_the_rows_and_bursts_of_its_program() -> None:
    part, shape = load_hbm_pim(), Shape(outputs=8192, inputs=768)
    placement = placed(load_layout("hbm_pim"), shape, HBM_PIM)
    runs = call_runs(part, Call(kernel="gemv", out=8192, inputs=768), 0)
    runs = runs[runs[:, COMPUTES] == 1]
    expected = {
        (part.modes.hab_banks.index(bank), row, column + i)
        for bank, row, column, count in runs[:, [BANK, RUN_ROW, COLUMN, COUNT]].tolist()
        for i in range(count)
    }
    output, value = np.meshgrid(np.arange(8192), np.arange(0, 768, 16), indexing="ij")
    at = placement.place(output, value)
    found = np.stack([at.group, at.row, at.burst], axis=-1).reshape(-1, 3)
    found = {tuple(each) for each in np.unique(found, axis=0).tolist()}
    assert found == expected


@pytest.mark.parametrize("tokens", [1, 31, 32, 600, 2048])
@pytest.mark.parametrize("tp", [1, 4])
def test_neupims_has_the_tiles_and_steps_of_its_program(tokens: int, tp: int) -> None:
    part = load_neupims()
    shape = shape_of(part, 4096, 32, tp)
    first, second = stages(part, "dual", shape, [[tokens]])
    heads = {"matrices": shape.own_heads}
    keys = placed(load_layout("neupims_k"), Shape(outputs=tokens, inputs=128, **heads), NEUPIMS)
    values = placed(load_layout("neupims_v"), Shape(outputs=128, inputs=tokens, **heads), NEUPIMS)
    for placement, stage in ((keys, first), (values, second)):
        (ops,) = stage.ops
        counts = counts_of(placement, held="inputs")
        gemvs = ops[ops[:, USE] == COMPOSITE]
        assert counts.multiplies == gemvs[:, STEPS].sum()
        assert counts.stops == counts.reads == len(gemvs)
        # Short heads' scores share our buffer, NeuPIMs writes all of it for each head.
        shared = placement is values and tokens < 512
        assert shared or counts.loads == (ops[:, USE] == GWRITE).sum()
        assert counts.openings == (ops[:, USE] == HEADER).sum()
    rows = rows_of(part, shape_of(part, 4096, 32, 1), tokens)
    if tp == 1:
        assert (keys.rows, values.rows) == rows
    ((entries, _),) = program(keys, held="inputs")
    listed = entries[entries[:, 0] == ROW, 2]
    in_order = listed[np.flatnonzero(np.diff(listed, prepend=-1))]
    headers = first.ops[0][first.ops[0][:, USE] == HEADER, NEUPIMS_ROW]
    assert (in_order + FIRST_ROW == headers).all()


@pytest.mark.parametrize("context", [512, 1000, 2048, 4096])
@pytest.mark.parametrize("head_dim", [64, 128])
def test_attacc_has_the_multiplies_of_its_program(context: int, head_dim: int) -> None:
    """A lone wave of heads, without the column that is multiplied ahead of a pair."""
    given = Attention(context=context, heads=16, head_dim=head_dim, bytes_per_value=2)
    made = program_of(load_attacc(), "bank", given)
    keys = placed(
        load_layout("attacc_k"), Shape(outputs=context, inputs=head_dim, matrices=16), ATTACC
    )
    values = placed(
        load_layout("attacc_v"), Shape(outputs=head_dim, inputs=context, matrices=16), ATTACC
    )
    assert made.issued["MACAB"] == keys.bursts + values.bursts
    assert made.rows == keys.rows
    assert keys.bursts // 16 == made.tokens * made.columns
    assert keys.channel_sizes() == {(context, head_dim, 1): 16}
    # Heads over 4 banks: three of four sums are left to be added.
    assert partial_sums(keys, counts_of(keys)) == 3 * context * 16


def test_pim_gpt_fills_rows_with_heads() -> None:
    """As published, over 98 % of the multiplies find their row open."""
    layout, keys = load_layout("pim_gpt"), Shape(outputs=2048, inputs=64, matrices=16)
    placement = placed(layout, keys, AIM)
    assert counts_of(placement).row_hit_rate == 1 - 1 / 64
    assert placement.padding == 0
    alone = placed(load_layout("aim"), keys, AIM)
    assert counts_of(alone).row_hit_rate == 1 - 1 / 4
    assert alone.rows == 16 * placement.rows
