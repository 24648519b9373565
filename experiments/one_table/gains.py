"""Our numbers beside published claims, by key: of elements alone, and of whole runs."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import prod
from statistics import fmean

from intervals import OWN, Interval, Load, Pair, energy_gain, load_of, speed_up, together
from ranking import ALL, Place
from rows import BASELINE, ISOS, RUNG, Entry, baselines, precision, terms

from simulator.compare import compared
from simulator.cost import Bound, load_technology
from simulator.design import TECHNOLOGY, Iso, load_element
from simulator.formats import get
from simulator.hardware.pricing import element_area_um2, mac_pj

#: A generative task, as BitMoD's: a prefill of 256 tokens and so many equal decode steps.
DECODE_STEPS = 20
#: Elements whose density and energy a MAC somebody published over another's, and the pairs.
ELEMENTS = {
    "figna": ("figna:int4xfp16", "fp16_fma:fp16xfp16"),
    "figlut": ("figlut:int4xfp16", "fp16_fma:fp16xfp16"),
    "axcore": ("axcore:fp4_e2m1fnxfp16", "fp16_fma:fp16xfp16"),
    "lut_w2a8": ("lut_w2a8:int2xint8", "fp16_fma:fp16xfp16"),
    "lut_w2a8/unpu": ("lut_w2a8:int2xint8", "unpu:int2xint8"),
    "l_mul": ("l_mul:bf16xbf16", "fp16_fma:fp16xfp16"),
    "bitmod": ("bitmod:bitmod4xfp16", "fp16_fma:fp16xfp16"),
    "ternary_adder": ("ternary_adder:ternaryxint8", "fp16_fma:fp16xfp16"),
}
#: Elements whose gain in decode is shown at all that waiting may cost, and the pair.
WAITING = {"bitmod": "bitmod3xfp16", "mixpe_w4a8": "int4xint8"}
BITMOD = {"ll": ("bitmod", "int6xfp16"), "short": ("bitmod", "bitmod4xfp16")}
LONG = ("bitmod", "bitmod3xfp16")
FP16 = (BASELINE, "fp16xfp16")
#: FP16 whose weights are of fewer bits in memory alone, and the precision of what is set beside it.
DEQUANTISED, DEQUANTISED_PRECISION = "fp16_dequant", "W4A16"
ANT, OLIVE = ("ant", "flint4xflint4"), ("olive", "olive_int4xolive_int4")
#: Where a claim is of one model and point.
STEP, FEW = "opt-6.7b/decode/64", "opt-6.7b/decode/1"

#: Loads by what is equal, workload, element and pair.
Known = Mapping[tuple[str, str, str, str], Load]


def saved(gain: Interval) -> Interval:
    """Return a gain as per cent that are saved."""
    return Interval(*(100 * (1 - 1 / each) for each in gain))


def of_elements() -> dict[str, Interval]:
    """Return MACs a cycle and area, and MACs a joule, of elements alone over another's."""
    ours = {}
    for name, (one, other) in ELEMENTS.items():
        ours[f"element.{name}.density"] = _density(one, other)
        ours[f"element.{name}.energy"] = _mac_energy(one, other)
    ours["element.l_mul.saved"] = saved(ours["element.l_mul.energy"])
    return ours


def _density(one: str, other: str) -> Interval:
    """Return the MACs a cycle and area of one element over those of another."""
    technology = load_technology(TECHNOLOGY)

    def density(of: str) -> float:
        name, pair = of.split(":")
        pe = load_element(name)
        return prod(pe.micro_tile) / pe.passes(pair) / element_area_um2(pe, technology)

    ratio, apart = density(one) / density(other), technology.overheads.between_elements
    return Interval(ratio, ratio * apart.at("low"), ratio * apart.at("high"))


def _mac_energy(one: str, other: str) -> Interval:
    """Return the energy of a MAC of another element over that of one."""
    technology = load_technology(TECHNOLOGY)

    def ratio(bound: Bound) -> float:
        first, second = (
            mac_pj(load_element(name), pair, technology, bound)
            for name, pair in (of.split(":") for of in (one, other))
        )
        return second / first

    bounds: tuple[Bound, ...] = ("low", "nominal", "high")
    low, nominal, high = (ratio(bound) for bound in bounds)
    # Both have the same end of synthesis above; it may take them apart.
    apart = OWN[1] / OWN[0]
    return Interval(nominal, min(low, nominal, high) / apart, max(low, nominal, high) * apart)


def of_papers(made: Sequence[Entry], models: Sequence[str]) -> dict[str, Interval]:
    """Return what papers claim of whole runs: BitMoD (mean of the models), MixPE, ShiftAddLLM."""
    known: Known = {
        (e.iso, e.row.workload, e.row.pe, e.pair): load_of(e) for e in made if not e.row.infeasible
    }
    ours: dict[str, Interval] = {}
    for iso in ISOS:
        for name, pairs in (*_bitmod(known, iso, models), *_mixpe(known, iso)):
            ours[f"{iso}.{name}.speed"] = speed_up(pairs)
            ours[f"{iso}.{name}.energy"] = energy_gain(pairs)
        shift = known[iso, FEW, "shift_add_llm", "bcq3xfp16"], known[iso, FEW, *FP16]
        ours[f"{iso}.shift_add_llm.saved"] = saved(energy_gain([shift]))
    return ours


def _mixpe(known: Known, iso: Iso) -> Iterator[tuple[str, list[Pair]]]:
    one = known[iso, STEP, "mixpe_w4a8", "int4xint8"]
    for other in (ANT, ("bit_fusion", "int4xint8")):
        yield f"mixpe/{other[0]}", [(one, known[iso, STEP, *other])]


def _bitmod(known: Known, iso: Iso, models: Sequence[str]) -> Iterator[tuple[str, list[Pair]]]:
    """Yield BitMoD's gains as its paper means them: discriminative, generative, both."""

    def task(of: tuple[str, str], model: str, steps: int) -> Load:
        loads = [(1, known[iso, f"{model}/prefill/256", *of])]
        return together([*loads, (steps, known[iso, f"{model}/decode/1", *of])])

    def pairs(one: tuple[str, str], other: tuple[str, str], steps: int) -> list[Pair]:
        return [(task(one, model, steps), task(other, model, steps)) for model in models]

    short, long = pairs(BITMOD["ll"], FP16, 0), pairs(BITMOD["ll"], FP16, DECODE_STEPS)
    yield "bitmod.ll.disc", short
    yield "bitmod.ll.gen", long
    yield "bitmod.ll.average", [*short, *long]
    yield "bitmod.ly.gen", pairs(LONG, FP16, DECODE_STEPS)
    for name, other in (("ant", ANT), ("olive", OLIVE)):
        both = pairs(BITMOD["short"], other, 0) + pairs(LONG, other, DECODE_STEPS)
        yield f"bitmod.ly/{name}", both


def questions(made: Sequence[Entry], ranked: Sequence[Place]) -> dict[str, float]:
    """Return what nobody published: where the gain comes from and what is certain about it."""
    bases = {point: load_of(entry) for point, entry in baselines(made).items()}
    others = [e for e in made if e.row.pe != BASELINE and not e.row.infeasible]
    ours = {}
    for point in ("decode/1", "prefill/256"):
        for iso in ISOS:
            pairs = [
                (load_of(e), bases[e.point])
                for e in others
                if e.iso == iso and e.row.workload.endswith(point)
            ]
            ours[f"{point}.{iso}.saves"] = _share(energy_gain([pair]).low > 1 for pair in pairs)
            ours[f"{point}.{iso}.faster"] = _share(speed_up([pair]).low > 1 for pair in pairs)
        ours |= _flips(point, [p for p in ranked if p.entry.row.workload.endswith(point)])
    return ours | _bits(others, bases) | _dequantised(others, bases) | _shares(baselines(made))


def _share(holds: Iterable[bool]) -> float:
    return 100 * fmean(holds)


def _flips(point: str, ranked: Sequence[Place]) -> dict[str, float]:
    """Return the part of the ranks that may be others, in per cent, by cause."""
    ours = {}
    for among, chosen in (
        ("all", [p for p in ranked if p.among == ALL]),
        ("own", [p for p in ranked if p.among != ALL]),
    ):
        by_energy = [p for p in chosen if p.dram is not None]
        for cause in ("gates", "dram"):
            ours[f"{point}.{among}.flips.{cause}"] = _share(cause in p.flips for p in by_energy)
        by_speed = [p for p in chosen if p.dram is None and p.entry.iso == "area"]
        ours[f"{point}.{among}.flips.speed"] = _share(bool(p.flips) for p in by_speed)
    return ours


def _bits(others: Sequence[Entry], bases: Mapping[tuple[str, str], Load]) -> dict[str, float]:
    """Return the decode speed-up over 16 / bits of weights: least, mean and most."""
    ratios = [
        speed_up([(load_of(e), bases[e.point])]).nominal * _bits_of(e.row.weights) / 16
        for e in others
        if e.iso == "area" and e.row.workload.endswith("decode/1")
    ]
    return {"bits.least": min(ratios), "bits.mean": fmean(ratios), "bits.most": max(ratios)}


def _dequantised(
    others: Sequence[Entry], bases: Mapping[tuple[str, str], Load]
) -> dict[str, float]:
    """Return the gains of FP16 on 4-bit weights, and the most of any W4A16 element over these.

    Llama-2-7B, equal area: the first is bits in memory alone.
    """
    ours = {}
    for point in ("decode/1", "prefill/256"):
        at = "area", f"llama-2-7b/{point}"
        loads = {
            e.row.pe: load_of(e)
            for e in others
            if e.point == at and precision(e.pair) == DEQUANTISED_PRECISION
        }
        plain = loads.pop(DEQUANTISED)
        for name, gain in (("speed", speed_up), ("energy", energy_gain)):
            ours[f"{point}.dequantised.{name}"] = gain([(plain, bases[at])]).nominal
            most = max(gain([(load, plain)]).nominal for load in loads.values())
            ours[f"{point}.over_dequantised.{name}"] = most
    return ours


def _bits_of(weights: str) -> float:
    return float(get(weights).bits_per_value)


def _shares(bases: Mapping[tuple[str, str], Entry]) -> dict[str, float]:
    """Return the part of FP16's energy that is in MACs, Llama-2-7B, in per cent."""
    return {
        f"{point}.macs": 100 * row.mac_j / row.energy_j
        for point in ("decode/1", "prefill/256")
        for row in (bases["area", f"llama-2-7b/{point}"].row,)
    }


def of_waiting() -> dict[str, float]:
    """Return decode's energy gain over FP16 at both ends of what a unit burns while it waits."""
    ours = {}
    for part in (0, 1):
        joules = {
            name: compared(
                load_element(name), pair, "llama-2-7b/decode/1", replace(terms(), waiting=part)
            ).energy_j
            for name, pair in {BASELINE: "fp16xfp16", **WAITING}.items()
        }
        for name in WAITING:
            ours[f"waiting.{name}.{part}"] = joules[BASELINE] / joules[name]
    return ours


def rungs(workloads: Iterable[str]) -> dict[str, float]:
    """Return how far the analytic rung is from the tile rung on FP16, at most, in per cent."""
    pe = load_element(BASELINE)
    apart = []
    for workload in workloads:
        tile, bound = (
            compared(pe, "fp16xfp16", workload, replace(terms(), rung=rung))
            for rung in ("tile", RUNG)
        )
        apart.append(100 * abs(tile.latency_s / bound.latency_s - 1))
    return {"rungs.apart": max(apart)}
