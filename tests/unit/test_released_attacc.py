"""Does AttAcc's released model give what the released code gave, by the rules that it states?"""

import csv
import os
import sys
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from math import ceil
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "experiments" / "attacc"
DATA = Path(os.environ.get("NIBBLESIM_DATA", ROOT.parent / "shared" / "data")) / "attacc"


def load(name: str, **siblings: ModuleType) -> ModuleType:
    """Load a script of the experiment by path; its siblings stand in only while it loads."""
    spec = spec_from_file_location(f"attacc_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    with patch.dict(sys.modules, siblings):
        spec.loader.exec_module(module)
    return module


model = load("released_model")
attention = load("attention", released_model=model)
ours, figure = load("our_devices"), load("figure")
script = load("run", released_model=model, attention=attention, our_devices=ours, figure=figure)
GPT = model.MODELS["GPT-175B"]
GPU = model.GPUS["A100a"]

# What the released code printed: scale-snu/attacc_simulator @c600051, main.py, run.
#: Tokens/s, ms of attention a token, J a token.
ONE_REQUEST = {
    "dgx8": ("32.22", "3.97", "11.79"),
    "dgx16": ("31.27", "3.97", "11.81"),
    "bank": ("58.55", "0.37", "11.52"),
    "bank_group": ("53.17", "1.13", "11.62"),
    "buffer": ("45.80", "4.14", "11.79"),
}
#: Batches of 640 GiB and of twice as much; tokens/s of 8 GPUs of each size.
BATCHES = {
    "gpt.2048.2048": (17, 54, 425, 810),
    "gpt.128.2048": (33, 101, 882, 1653),
    "gpt.128.128": (281, 854, 3156, 3456),
    "llama.2048.2048": (52, 117, 1427, 1813),
    "llama.128.2048": (97, 219, 2909, 3513),
    "mt.2048.2048": (9, 49, 206, 694),
    "mt.128.2048": (16, 91, 395, 1460),
}


@pytest.mark.parametrize("name", ONE_REQUEST)
def test_one_request_is_as_released(name: str) -> None:
    found = script.one_request()
    tokens_per_s, attention_ms, millijoules = (
        found[f"released.one.{name}.{part}"]
        for part in ("tokens_per_s", "attention_ms", "millijoules")
    )
    ours = (f"{value:.2f}" for value in (tokens_per_s, attention_ms, millijoules / 1e3))
    assert tuple(ours) == ONE_REQUEST[name]


@pytest.mark.parametrize("name", BATCHES)
def test_batches_fill_the_memories(name: str) -> None:
    assert script.batches(script.WORKS[name]) == BATCHES[name][:2]


@pytest.mark.parametrize("name", ["gpt.128.128", "gpt.2048.2048", "mt.128.2048"])
def test_gpus_alone_are_as_released(name: str) -> None:
    few, many, base, large = BATCHES[name]
    work = script.WORKS[name]
    assert round(script.run(script.BASE, work, few).tokens_per_s) == base
    assert round(script.run(script.LARGE, work, many).tokens_per_s) == large


def test_attacc_at_short_contexts_is_as_released() -> None:
    found = script.filled("gpt.128.128", script.WORKS["gpt.128.128"])
    systems = ("naive", "pipelined", "full")
    rates = [round(found[f"released.gpt.128.128.{name}"]) for name in systems]
    assert rates == [3941, 4014, 4204]
    assert round(found["released.gpt.128.128.energy"], 3) == 0.768


def recorded(heads: int, level: str, power_limit: bool) -> Callable[[int, int], float]:
    """Return the cycles that the authors recorded, by the tokens that a bank has."""
    path = DATA / "pim_attention_cycles.csv"
    if not path.is_file():
        pytest.skip(f"no {path.name}: set NIBBLESIM_DATA (scale-snu/attacc_simulator @c600051)")
    found: dict[int, float] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            key = (row["nhead"], row["pim_type"], row["power_constraint"])
            if key == (str(heads), level, str(power_limit)):
                found.setdefault(ceil(int(row["L"]) / 16), float(row["cycle"]))

    def cycles(context: int, asked: int) -> float:
        assert asked == heads
        return found[ceil(context / 16)]

    return cycles


@pytest.mark.parametrize(
    ("level", "name", "power_limit", "pipeline", "ffn", "tokens_per_s"),
    [
        ("bank", "BA", True, False, False, 1494),
        ("bank", "BA", True, True, False, 1694),
        ("bank", "BA", True, True, True, 1787),
        ("bank", "BA", False, True, True, 1853),
        ("bank_group", "BG", True, True, True, 1412),
    ],
)
def test_recorded_cycles_give_the_released_rates(
    level: str, name: str, power_limit: bool, pipeline: bool, ffn: bool, tokens_per_s: int
) -> None:
    unit = model.AttAcc(level, power_limit)
    memory = attention.our_commands(unit, GPT)
    system = model.System(attacc=unit, head_pipeline=pipeline, shared_ffn=ffn)
    attended = model.Attended(recorded(130, name, power_limit), memory)
    made = model.generate(system, GPT, 2048, 2048, 54, attended)
    assert round(made.tokens_per_s) == tokens_per_s


def test_our_cycles_are_those_recorded_by_the_scheduler_that_made_them() -> None:
    """ramulator.out: 130 heads by the strict scheduler, three by the released one."""
    bank = attention.our_cycles(model.AttAcc("bank"), GPT)
    assert bank(4096, 130) == pytest.approx(79205, rel=0.002)
    assert bank(2049, 3) == bank(2064, 3) == 4892
    assert bank(2065, 3) > bank(2064, 3)
    group = attention.our_cycles(model.AttAcc("bank_group"), GPT)
    assert group(3072, 130) == 185579


def test_cycles_of_the_buffer_are_linear_between() -> None:
    buffer = attention.our_cycles(model.AttAcc("buffer"), GPT)
    start, middle, end = (buffer(21 * 98 + more, 3) for more in (0, 49, 98))
    assert middle == pytest.approx((start + end) / 2)
    assert end > start


@pytest.mark.parametrize(
    ("level", "power_limit", "cycles"),
    [
        # A head has 2 x 2 columns of 128 tokens in a bank (256 multiplications each of scores and
        # outputs, 8 rows), 2 x 8 in a bank group, 8 of 1,024 in the buffer; 9 waves of 130 heads.
        ("bank", True, 2 * (256 * 6 + 8 * 46)),
        ("bank", False, 2 * (256 * 4 + 8 * 46)),
        ("bank_group", True, 2 * 8 * 128 * 6),
        ("bank_group", False, 2 * 8 * 128 * 4),
        ("buffer", True, 2 * 8 * 1024 * 2),
    ],
)
def test_the_closed_form_by_hand(level: str, power_limit: bool, cycles: int) -> None:
    form = attention.closed_form(model.AttAcc(level, power_limit), GPT)
    assert form(2048, 130) == pytest.approx(9 * cycles * 5070 / (5070 - 455))


def test_the_commands_are_those_recorded() -> None:
    """ramulator.out, 130 heads of banks at 4,096 tokens: mac, wrgb, mvgb + mvsb."""
    commands = attention.our_commands(model.AttAcc("bank"), GPT)
    assert commands(4096, 130) == (133136, 1040, 20736 + 18720)
    assert commands(4081, 130) == commands(4096, 130)


# Rules, by hand.


def test_a_projection_at_the_bandwidth_and_at_the_flops() -> None:
    projection = model.Kind.PROJECTION
    few = model.on_gpu(GPU, 8, model.Operation("ff", projection, 1, 13824, 4096), 2)
    # 108 blocks of 128 outputs: all cores; both operands and the result are moved once.
    moved = (4096 + 13824 * 4096 + 13824) * 2
    assert few.memory_bound
    assert few.seconds == pytest.approx(moved / (3352e9 * 0.85))
    many = model.on_gpu(GPU, 8, model.Operation("ff", projection, 4096, 13824, 4096), 2)
    assert not many.memory_bound
    floor = 2 * 4096 * 13824 * 4096 / (312e12 * 0.8)
    assert floor <= many.seconds <= 1.1 * floor


def test_blocks_of_attention_are_heads() -> None:
    """Twelve heads have 12 of 108 cores, and that part of the bandwidth."""
    score = model.Operation("score", model.Kind.ATTENTION, 1, 2049, 128, 12)
    moved = (128 * ceil(2049 / 512) + 2049 * 128 + 2049) * 12 * 2
    found = model.on_gpu(GPU, 8, score, 2)
    assert found.seconds == pytest.approx(moved / (3352e9 * 0.85 * 12 / 108), rel=2e-3)
    half = model.on_gpu(GPU, 16, score._replace(number=6), 2)
    assert half.seconds == pytest.approx(found.seconds)


def test_an_activation_takes_its_line_or_one_core() -> None:
    activation = model.Operation("gelu", model.Kind.ACTIVATION, 54, 6144, work=8)
    found = model.on_gpu(GPU, 8, activation, 2)
    assert found.seconds == pytest.approx((4.47e-7 * 1555 / 3352 * 2 * 54 * 6144 * 2 + 8.29) * 1e-6)
    large = model.on_gpu(GPU, 8, activation._replace(m=854), 2)
    assert large.seconds == pytest.approx(8 * 854 * 6144 / (312e12 * 0.8 / 108))


def test_an_all_reduce_is_seven_steps() -> None:
    given = model.Operation("g2g", model.Kind.ALL_REDUCE, 54, 12288)
    small = model.on_gpu(GPU, 8, given, 2)
    part = 54 * 12288 * 2 / 8
    assert small.seconds == pytest.approx(7 * (6060 + 0.009 * part) * 1e-9)
    assert small.picojoules == pytest.approx(8 * 8 * part * 10.4)


TIMES = {
    "qkv": 6.0,
    "proj": 2.0,
    "x2g": 4.0,
    "score": 0.0,
    "context": 0.0,
    "softmax": 0.0,
    "ff": 9.0,
}


@pytest.mark.parametrize(
    ("attention_s", "heads", "qkv", "proj", "x2g"),
    [
        (5.0, False, 6.0, 2.0, 1.0),  # attention hides all transfers but a head's
        (2.0, False, 6.0, 2.0, 2.5),  # and here a part of them
        (9.0, True, 1.5, 0.5, 1.0),  # and projections
        (4.0, True, 6 - 3 * 0.75, 2 - 3 * 0.25, 1.0),  # these hide attention, QKV three parts of it
    ],
)
def test_what_overlaps(
    attention_s: float, heads: bool, qkv: float, proj: float, x2g: float
) -> None:
    times = TIMES | {"score": attention_s - 1, "softmax": 1.0}
    found = model.pipelined(times, 0.25, heads=heads)
    assert found == pytest.approx(times | {"qkv": qkv, "proj": proj, "x2g": x2g, "softmax": 0.0})


def test_transfers_longer_than_all_hide_projections() -> None:
    times = TIMES | {"x2g": 10.0, "score": 4.0}
    found = model.pipelined(times, 0.25, heads=True)
    assert (found["qkv"], found["proj"], found["x2g"]) == (1.5, 0.5, 7.0)


def test_a_shared_ffn_divides_by_bandwidth_or_by_flops() -> None:
    unit = model.AttAcc()
    system = model.System(attacc=unit)
    bound = model.Cost(1.0, 0.0, memory_bound=True)
    assert model.shared(bound, system, unit, 54, 2) == pytest.approx(1 / (1 + 9 / 54))
    free = bound._replace(memory_bound=False)
    assert model.shared(free, system, unit, 54, 2) == pytest.approx(312 / (312 + 3.352 * 9))


def test_energy_of_attention_by_hand() -> None:
    """Two heads on each of five stacks: cells by the bit, moves by the byte, half the products."""
    unit = model.AttAcc("bank", number=1)
    memory = model.Attended(lambda *_: 1000.0, lambda *_: model.Columns(100, 10, 20))
    score = model.Operation("score", model.Kind.ATTENTION, 1, 2048, 128, 10)
    found = model.on_attacc(unit, score, 2, memory)
    cells = 100 * 64 * 32 * 0.55 * 8
    moves = 32 * (10 * 0.3 + 30 * (0.5 + 1.23 + 1.01))
    assert found.picojoules == pytest.approx(5 * (cells + moves) + 10 * 2048 * 128 * 0.32)
    assert found.seconds == pytest.approx(769e-9)
    context = score._replace(name="context")
    assert model.on_attacc(unit, context, 2, memory) == model.Cost(0.0, 0.0)


def test_what_cannot_be_generated_is_refused() -> None:
    with pytest.raises(ValueError, match="AttAcc and what attention takes on it go together"):
        model.generate(script.FULL, GPT, 2048, 2048, 1)
    with pytest.raises(ValueError, match="generated must be >= 2, got 1"):
        model.generate(script.BASE, GPT, 2048, 1, 1)


# Our own devices.


def test_two_contexts_average_a_generation() -> None:
    first, last = 2049, 4095
    low, high = ours.contexts_of(2048, 2048)
    steps = range(first, last + 1)
    for power in (1, 2, 3):
        mean = sum(each**power for each in steps) / len(steps)
        assert (low**power + high**power) / 2 == pytest.approx(mean, rel=1e-3)


def test_both_memories_cut_as_a_batch_needs() -> None:
    attacc = ours.load_device("attacc")
    most = ours.fitting(ours.gpu(160), "llama")
    one, twice = (ours.as_one(attacc, "llama", most, ffn_twice=more) for more in (False, True))
    held = one.memory.capacity_bytes + one.pim.own.capacity_bytes
    assert held == 160 * ours.GIB
    # Up, gate and down of eighty layers, an eighth of them.
    more = twice.pim.own.capacity_bytes - one.pim.own.capacity_bytes
    assert more == 80 * 3 * 8192 * 22016 * 2 // 8
    assert ours.fitting(one, "llama") == most
    assert ours.fitting(attacc, "llama") < most


def test_a_bit_of_hbm3_costs_the_same_in_both_memories() -> None:
    assert ours.prices("attacc").dram_read_pj_per_bit.nominal == pytest.approx(model.DRAM_PJ / 8)


def test_orders_are_those_of_systems_that_ran() -> None:
    rates = {"dgx8": 1.0, "buffer": 2.0, "bank_group": 3.0, "bank": 2.5}
    found = {f"ours.one.{name}.tokens_per_s": rate for name, rate in rates.items()}
    order = [("GPUs", 1.0), ("buffer", 2.0), ("bank_group", 3.0), ("bank", 2.5)]
    assert ours.orders(found) == {"one request": order}
