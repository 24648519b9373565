"""Are the tables, arrays and shapes of LUT Tensor Core counted as the experiment says?"""

import csv
from math import prod
from pathlib import Path

import pytest
from experiments_loaded import loaded

from simulator.api import load_device
from simulator.cost import CELLS, Cells, Cost, cost_of, load_technology
from simulator.cost.gates import adder, mux, register, xor_row
from simulator.numerics.word import Tally

FOLDER = Path(__file__).parents[2] / "experiments" / "lut_tensor_core"
NAMES = ("structures", "precompute", "figure", "run")

s, precompute, _, run = loaded("lut_tensor_core", NAMES)
TECHNOLOGY = load_technology("scaled_28nm")
A100 = load_device("a100")


def less(one: Cells, other: Cells) -> Cells:
    return Cells(*(getattr(one, name) - getattr(other, name) for name in CELLS))


def committed() -> dict[tuple[str, str], dict[str, str]]:
    with (FOLDER / "expected.csv").open(newline="", encoding="utf-8") as file:
        return {(row["claim"], row["source"]): row for row in csv.DictReader(file)}


def test_a_half_table_of_floats_has_three_additions_an_entry() -> None:
    assert s.fp16_table_additions() == 8 * 3


def test_a_full_table_has_an_addition_less_than_ones() -> None:
    values = [1, 20, 300, 4000]
    table = s.full_table(values)
    expected = [sum(v for k, v in enumerate(values) if i >> k & 1) for i in range(16)]
    assert table == expected
    tally = Tally()
    s.full_table([tally.word(value, 16) for value in values])
    assert tally.counts["add"] == sum(max(i.bit_count() - 1, 0) for i in range(16)) == 17


def test_adders_of_a_table_follow_the_specification() -> None:
    """Of 8 entries the first addition has 8 bits (a zero minus it), then a bit more each."""
    assert s.table_adders(8, half=True) == 8 * (adder(8) + adder(9) + adder(10) + adder(11))
    # Six pairs, four triples, one of four: the sum grows a bit an addition.
    full = 11 * adder(8) + 5 * adder(9) + adder(10)
    assert s.table_adders(8, half=False) == full


def test_entries_hold_sums_of_k_activations() -> None:
    assert [s.entry_of("int8", k).bits for k in (1, 2, 4, 8)] == [8, 9, 10, 11]
    assert s.entry_of("int16", 4).bits == 18
    assert (s.entry_of("fp16", 8).bits, s.entry_of("fp8_e4m3", 8).bits) == (16, 8)
    assert (s.entry_of("fp16", 4).sum_bits, s.entry_of("int8", 4).sum_bits) == (16, 32)


def test_shapes_have_as_many_macs_and_are_all_there() -> None:
    shapes = s.shapes()
    assert {prod(tile) for tile in shapes} == {512}
    assert len(set(shapes)) == len(shapes) == 10 + 9 + 8 + 7
    assert {k for _, _, k in shapes} == {1, 2, 4, 8}


def test_an_array_is_its_outputs_and_what_they_share() -> None:
    entry = s.Entry(8)
    output = mux(8, 8) + xor_row(8) + adder(32) + register(32)
    assert s.array((2, 64, 4), 2, entry) == 128 * output + register(2 * 8 * 8 + 64 * 4 * 2)
    full = s.array((2, 64, 4), 2, entry, half=False)
    assert less(full, s.array((2, 64, 4), 2, entry)) == 128 * mux(9, 8) + register(2 * 8 * 8)
    assert s.table_bits((2, 64, 4), 16) == 256


def test_the_changes_to_unpu_take_away_what_they_say() -> None:
    steps = s.ablation()
    assert list(steps) == ["unpu", "reinterpreted", "offline", "fused"]
    assert less(steps["reinterpreted"], steps["offline"]) == 128 * xor_row(3)
    assert less(steps["offline"], steps["fused"]) == 2 * s.table_adders(8, half=True)
    areas = [cost_of(cells, TECHNOLOGY).area_um2 for cells in steps.values()]
    assert areas == sorted(areas, reverse=True)


def test_ablation_is_unpu_over_the_others() -> None:
    ours = run.ablation(TECHNOLOGY)
    steps = {name: cost_of(c, TECHNOLOGY, placed=False) for name, c in s.ablation().items()}
    ratio = steps["unpu"].energy_pj / steps["offline"].energy_pj
    assert ours["ablation.offline.efficiency"] == pytest.approx(ratio)
    ratio = steps["unpu"].area_um2 / steps["fused"].area_um2
    assert ours["ablation.fused.density"] == pytest.approx(ratio)
    assert len(ours) == 6


def test_densities_are_operations_over_area() -> None:
    ours = run.densities(TECHNOLOGY)
    area = cost_of(s.array(s.TILE, 2, s.Entry(8)), TECHNOLOGY, placed=False).area_um2
    # 256 MACs of two bits a cycle, two operations each, at 1.41 GHz.
    assert ours["density.lut"] == pytest.approx(512 * 1.41e9 / 1e12 / (area / 1e6))
    area = cost_of(s.fp16_dot(), TECHNOLOGY, placed=False).area_um2
    assert ours["density.fp16"] == pytest.approx(64 * 1.41e9 / 1e12 / (area / 1e6))
    assert ours["density.ratio"] == pytest.approx(ours["density.lut"] / ours["density.fp16"])


def test_lookups_need_no_multiplier() -> None:
    assert run.densities(TECHNOLOGY)["density.dp4"] > 4
    # An exact product and a sum, eight outputs on one pair of operands.
    registers = less(s.int8_dot(), Cells(dff=2 * 4 * 8 + 8 * 32))
    assert registers.dff == 0
    assert s.fp16_dot().dff == 2 * 4 * 16 + 8 * 32


def test_the_optimum_is_counted_over_all_pairs() -> None:
    shapes = run.sweep(TECHNOLOGY)
    assert len(shapes) == 12 * len(s.shapes())
    found = run.optimum(shapes)
    assert found["tile.k"] == 12
    assert found["tile.worst"] > 0
    wide = [one for one in shapes if (one.activation, one.weight_bits) == ("fp16", 1)]
    assert min(wide, key=lambda one: one.product).tile == (2, 64, 4)
    assert 0 < found["tile.all"] < 12


def test_shapes_are_compared_by_area_times_energy() -> None:
    assert run.Shape("fp16", 1, s.TILE, Cost(2.0, 3.0)).product == 6.0


def test_overheads_are_per_cent_of_the_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    layers = {"free": 0.02, "fused": 0.021, "apart": 0.025}
    monkeypatch.setattr(precompute.Step, "seconds", lambda step, device: 0.03)
    monkeypatch.setattr(precompute.Step, "with_luts_s", lambda step, device, way: layers[way])
    ours = run.overheads(A100)
    assert ours["bloom.decode.base"] == pytest.approx(30)
    for rate in (1, 4):
        assert ours[f"llama.prefill.fused.{rate}"] == pytest.approx(5)
        assert ours[f"mean.decode.apart.{rate}"] == pytest.approx(25)
    # 24 additions for 4 activations, each in 4 MACs.
    assert ours["redundant"] == 1.5


def test_a_product_of_two_bits_has_four_times_the_rate() -> None:
    changed = precompute.with_luts(A100, 4)
    rate = changed.matrix.macs_per_cycle("int2xfp16")
    assert rate == 4 * A100.matrix.macs_per_cycle("fp16xfp16") == 442_368
    assert changed.beside == A100.matrix
    ours = run.logged(A100)
    least = prod(run.LOGGED) / rate
    assert least < ours["logged.peak"] < 1.01 * least
    assert ours["logged.tile"] == pytest.approx(ours["logged.peak"] / 0.869, rel=1e-3)


def test_what_tables_cost_is_their_traffic() -> None:
    """Apart: activations are read and tables written, where products wait for the array."""
    step = precompute.steps()["llama.prefill"]
    device = precompute.with_luts(A100, 1)
    free, fused, apart = (step.with_luts_s(device, tables) for tables in ("free", "fused", "apart"))
    assert free == pytest.approx(step.seconds(A100), rel=0.01)
    model, rate = step.model, 2039e9 * 0.87
    # Inputs of Q, K and V, of the output, of two products of the FFN, and of the third.
    made = step.rows * (2 * model.hidden + model.heads * model.head_dim + model.ffn)
    assert apart - free == pytest.approx((2 + 4) * made / rate, rel=0.03)
    # Fused, 2 bytes more of each are written, by operations that wait for memory as these do.
    assert 0.2 * (4 - 2) * made / rate < fused - free < 1.05 * (4 - 2) * made / rate


def test_a_step_is_a_prompt_or_one_token_of_each_sequence() -> None:
    steps = precompute.steps()
    assert steps["bloom.decode"].rows == 1024
    assert steps["opt.prefill"].rows == 2048
    assert steps["bloom.prefill"].model.hidden == 14336
    assert steps["llama.decode"].workload(1).phase == "decode"
    assert steps["llama.prefill"].workload(1).phase == "prefill"
    macs = 1024 * 12 * 12288**2
    peak = 110_592 * 1.41e9 * 0.869
    assert steps["opt.decode"].seconds(A100) == pytest.approx(macs / peak, rel=0.1)


def test_identities_divide_what_was_published() -> None:
    rows = {row["claim"]: row for (_, source), row in committed().items() if "identity" in source}
    assert len(rows) == 8
    for row in rows.values():
        assert float(row["ours"]) == pytest.approx(float(row["published"]), rel=0.01)


def test_the_committed_table_is_that_of_this_run() -> None:
    ours = run.ablation(TECHNOLOGY) | run.densities(TECHNOLOGY) | run.identities()
    for claim in run.read_claims(FOLDER / "published.csv", ours):
        row = committed()[claim.claim, claim.source]
        assert float(row["ours"]) == pytest.approx(claim.ours, rel=1e-6)


def test_small_leaves_models_and_figure_out(tmp_path: Path) -> None:
    run.main(["--small", "--out", str(tmp_path)])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["claims.csv", "shapes.csv"]
    lines = (tmp_path / "claims.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1 + 25
    assert not [line for line in lines if "longer layer" in line]
