"""What do appends, capacity and reads of an NPU take, and is it what all places say?"""

import numpy as np
import pytest

from simulator.dram.pim.grouped import Policy, load_grouped, run_program
from simulator.dram.pim.neupims_part import load_neupims
from simulator.dram.pim.neupims_program import FIRST_ROW, rows_of, shape_of
from simulator.mapping.pim_layout import Geometry, Layout, Placement, Shape, load_layout, placed
from simulator.mapping.pim_program import program
from simulator.mapping.pim_storage import (
    Append,
    KeysAndValues,
    append,
    append_requests,
    most_tokens,
    shared_weights,
)
from simulator.mapping.pim_storage import (
    rows_of as rows_of_all,
)

#: Llama-2-7B's keys and values in FP16, and NeuPIMs' and AttAcc's memory.
LLAMA = KeysAndValues(layers=32, heads=32, head_dim=128)
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
HBM3 = load_grouped("hbm3_banks")
ATTACC = Geometry.of(HBM3)
LAYOUTS = [("neupims", NEUPIMS), ("attacc", ATTACC)]


def of_keys(name: str, geometry: Geometry, tokens: int = 2048) -> Placement:
    return placed(load_layout(f"{name}_k"), LLAMA.shapes(tokens, 1)[0], geometry)


def of_values(name: str, geometry: Geometry, tokens: int = 2048) -> Placement:
    return placed(load_layout(f"{name}_v"), LLAMA.shapes(tokens, 1)[1], geometry)


def test_appends_of_neupims() -> None:
    """A token's 8 KB of keys are whole bursts of a bank, its values one lane of a burst each."""
    keys = append(of_keys("neupims", NEUPIMS), "outputs", 1000)
    assert keys == Append(bursts=256, bursts_partly=0, rows=8, banks=1, channels=1)
    values = append(of_values("neupims", NEUPIMS), "inputs", 1000)
    assert values == Append(bursts=4096, bursts_partly=4096, rows=4096, banks=32, channels=1)


def test_appends_of_attacc_write_whole_bursts_of_both() -> None:
    """Two heads a channel; of each a token of keys and of values is in 4 banks, lanes filled."""
    keys = append(of_keys("attacc", ATTACC), "outputs", 1000)
    assert keys == Append(bursts=256, bursts_partly=0, rows=128, banks=64, channels=16)
    values = append(of_values("attacc", ATTACC), "inputs", 1000)
    assert values == Append(bursts=256, bursts_partly=0, rows=256, banks=64, channels=16)


@pytest.mark.parametrize(("name", "geometry"), LAYOUTS)
def test_appends_of_all_tokens_write_everything_once(name: str, geometry: Geometry) -> None:
    keys = of_keys(name, geometry, tokens=48)
    written = [append(keys, "outputs", token).bursts for token in range(48)]
    assert sum(written) * keys.lanes == keys.shape.values


def test_requests_read_first_what_they_write_in_part() -> None:
    banks = load_grouped("newton_hbm2").banks_of_groups
    placement = of_values("neupims", NEUPIMS, tokens=64)
    ((channel, requests),) = append_requests(placement, "inputs", 3, banks, not_before=7).items()
    assert channel == 0
    assert len(requests) == 2 * 4096
    assert requests[:, 1].tolist() == [0, 1] * 4096
    assert (requests[:, 0] == 7).all()
    assert (requests[::2, 2:] == requests[1::2, 2:]).all()
    assert len(np.unique(requests[:, 2:], axis=0)) == 4096


def test_requests_name_the_banks_of_groups() -> None:
    """Groups of every other bank: bank 1 of group 1 is the channel's bank 3."""
    splits = (["lane", "inputs"], ["bank", "outputs"], ["group", "outputs"], ["row", "inputs"])
    layout = Layout(name="own", summary="own", source="own", splits=(*splits, ["row", "outputs"]))
    geometry = Geometry(**{**vars(NEUPIMS), "groups": 2, "banks": 2, "channels": 1})
    placement = placed(layout, Shape(outputs=4, inputs=32), geometry)
    found = append_requests(placement, "outputs", 3, ((0, 2), (1, 3)))
    assert found[0].tolist() == [[0, 1, 3, 0, 0], [0, 1, 3, 1, 0]]


def test_capacity_of_neupims_is_that_of_its_rows() -> None:
    """32 GB of which a token takes 512 KB, whole tiles of 32 tokens and rows of 512."""
    keys, values = load_layout("neupims_k"), load_layout("neupims_v")
    part = load_neupims()
    shape = shape_of(part, 4096, 32, 1)
    for tokens in (1, 32, 33, 512, 513, 2048):
        taken = rows_of_all(keys, values, LLAMA, NEUPIMS, tokens, requests=1)
        assert taken == 32 * sum(rows_of(part, shape, tokens))
    most = most_tokens(keys, values, LLAMA, NEUPIMS, rows_taken=FIRST_ROW)
    assert 32 * sum(rows_of(part, shape, most)) <= part.levels["Row"] - FIRST_ROW
    assert 32 * sum(rows_of(part, shape, most + 1)) > part.levels["Row"] - FIRST_ROW
    # Requests are dealt to channels.
    assert most_tokens(keys, values, LLAMA, NEUPIMS, rows_taken=1, requests=32) == most
    assert most_tokens(keys, values, LLAMA, NEUPIMS, rows_taken=1, requests=33) < most // 2


def test_capacity_over_channels_falls_with_requests_and_is_the_whole_memory() -> None:
    keys, values = load_layout("attacc_k"), load_layout("attacc_v")
    one, two = (most_tokens(keys, values, LLAMA, ATTACC, requests=each) for each in (1, 2))
    memory = ATTACC.channels * ATTACC.banks * ATTACC.rows * 1024
    assert one == 2 * two == memory // (2 * 32 * 4096 * 2)
    assert most_tokens(keys, values, LLAMA, ATTACC, rows_taken=ATTACC.rows) == 0


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


def test_an_npu_reads_row_major_weights_in_whole_rows() -> None:
    """A tile of 128 inputs is 8 bursts of a row, of as many banks as it has outputs."""
    placement = placed(load_layout("aim"), Shape(outputs=1024, inputs=2048), AIM)
    shared = shared_weights(placement, 128, 128)
    assert shared.run_bursts == 8
    assert shared.row_hit_rate == 1 - 1 / 64
    assert shared.useful == 1
    assert shared.copy_bytes == 4 << 20
    assert shared.copy_rows == placement.rows == 4
    assert shared.conversion_bytes == 8 << 20
    assert (shared.own_row_hit_rate, shared.own_run_bursts) == (1 - 1 / 64, 64)


@pytest.mark.parametrize("name", ["aim", "hbm_pim", "attacc_v", "pim_gpt"])
@pytest.mark.parametrize("tile", [(16, 48), (7, 5), (64, 200)])
def test_reads_of_an_npu_are_those_of_all_places(name: str, tile: tuple[int, int]) -> None:
    geometry = ATTACC if name == "attacc_v" else Geometry(**{**vars(AIM), "groups": 2, "banks": 8})
    shape = Shape(outputs=100, inputs=200, matrices=2)
    placement = placed(load_layout(name), shape, geometry)
    runs, hits, reads, last, rows = 0, 0, 0, None, dict[tuple[int, ...], int]()
    for matrix in range(2):
        for first_output in range(0, 100, tile[0]):
            for first_input in range(0, 200, tile[1]):
                seen = set[tuple[int, ...]]()
                for output in range(first_output, min(first_output + tile[0], 100)):
                    inputs = np.arange(first_input, min(first_input + tile[1], 200))
                    at = placement.place(output, inputs, matrix)
                    for place in np.stack(at, axis=1)[:, :5].tolist():
                        if tuple(place) in seen:
                            continue
                        seen.add(tuple(place))
                        bank = tuple(place[:3])
                        reads += 1
                        hits += rows.get(bank) == place[3]
                        runs += last != (bank, place[3])
                        rows[bank], last = place[3], (bank, place[3])
    shared = shared_weights(placement, *tile)
    assert shared.row_hit_rate == pytest.approx(hits / reads)
    assert shared.run_bursts == pytest.approx(reads / runs)
    assert shared.useful == pytest.approx(shape.values / (reads * placement.lanes))


@pytest.mark.parametrize("policy", ["concurrent", "exclusive"])
def test_an_append_is_served_beside_a_program(policy: Policy) -> None:
    """A token of values is written while the scores of others are computed."""
    keys, values = of_keys("attacc", ATTACC), of_values("attacc", ATTACC)
    entries = program(keys)[0].entries
    requests = append_requests(values, "inputs", 2047, HBM3.banks_of_groups)[0]
    alone = run_program(HBM3, entries)
    run = run_program(HBM3, entries, requests=requests, policy=policy)
    assert run.requests == len(requests) == 16
    assert run.bursts == alone.bursts
    assert run.cycles > alone.cycles
