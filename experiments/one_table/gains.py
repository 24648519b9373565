"""Our numbers beside published claims, by key: of elements alone, and of whole runs."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import prod
from statistics import fmean

from ranking import Place
from rows import BASELINE, ISOS, RUNG, Entry, baselines, energy_gain, speed_up

from simulator.api import load_device
from simulator.compare import FRAME, TECHNOLOGY, Iso, compared, load_element
from simulator.cost import load_technology
from simulator.formats import get
from simulator.hardware.pricing import element_area_um2, mac_pj

#: A generative task, as BitMoD's: a prefill of 256 tokens and so many equal decode steps.
DECODE_STEPS = 20
#: Elements whose density and energy a MAC somebody published, and the pair.
ELEMENTS = {
    "figna": "int4xfp16",
    "axcore": "fp4_e2m1fnxfp16",
    "lut_w2a8": "int2xint8",
    "l_mul": "bf16xbf16",
    "bitmod": "bitmod4xfp16",
    "ternary_adder": "ternaryxint8",
}

Measured = Callable[[Iso, str, str, str], float]


def of_elements() -> dict[str, float]:
    """Return MACs a cycle and area, and MACs a joule, of elements alone over FP16's."""
    technology = load_technology(TECHNOLOGY)
    base = load_element(BASELINE)
    area = element_area_um2(base, technology)
    energy = mac_pj(base, "fp16xfp16", technology)
    ours = {}
    for name, pair in ELEMENTS.items():
        pe = load_element(name)
        macs = prod(pe.micro_tile) / pe.passes(pair)
        ours[f"element.{name}.density"] = macs * area / element_area_um2(pe, technology)
        ours[f"element.{name}.energy"] = energy / mac_pj(pe, pair, technology)
    ours["element.l_mul.saved"] = 100 * (1 - 1 / ours["element.l_mul.energy"])
    return ours


def _lookup(made: Sequence[Entry], measure: Callable[[Entry], float]) -> Measured:
    known = {
        (e.iso, e.row.workload, e.row.pe, e.row.weights.split("-")[0]): measure(e) for e in made
    }
    return lambda iso, workload, pe, weights: known[iso, workload, pe, weights]


def of_papers(made: Sequence[Entry], models: Sequence[str]) -> dict[str, float]:
    """Return what papers claim of whole runs, mean of the models: BitMoD, MixPE, ShiftAddLLM."""
    ours: dict[str, float] = {}
    seconds = _lookup(made, lambda entry: entry.row.latency_s)
    joules = _lookup(made, lambda entry: entry.row.energy_j)
    for kind, of in (("speed", seconds), ("energy", joules)):
        for iso in ISOS:
            for name, gain in _bitmod(of, iso, models).items():
                ours[f"{iso}.bitmod.{kind}.{name}"] = gain
            step = "opt-6.7b/decode/64"
            ant, mixpe = of(iso, step, "ant", "flint4"), of(iso, step, "mixpe_w4a8", "int4")
            ours[f"{iso}.mixpe.{kind}"] = ant / mixpe
    of, step = joules, "opt-6.7b/decode/1"
    share = of("area", step, "lut_w2a8", "int3") / of("area", step, BASELINE, "fp16")
    return ours | {"area.shift_add.saved": 100 * (1 - share)}


def _bitmod(of: Measured, iso: Iso, models: Sequence[str]) -> dict[str, float]:
    """Return BitMoD's gains as its paper means them: discriminative, generative, both."""

    def task(pe: str, weights: str, model: str, steps: int) -> float:
        step = steps and of(iso, f"{model}/decode/1", pe, weights)
        return of(iso, f"{model}/prefill/256", pe, weights) + steps * step

    def gain(one: tuple[str, str], other: tuple[str, str], steps: int) -> float:
        return fmean(task(*other, m, steps) / task(*one, m, steps) for m in models)

    base, ll = (BASELINE, "fp16"), ("bitmod", "int6")
    short, long = ("bitmod", "bitmod4"), ("bitmod", "bitmod3")
    found = {
        "ll.disc": gain(ll, base, 0),
        "ll.gen": gain(ll, base, DECODE_STEPS),
        "ly.gen": gain(long, base, DECODE_STEPS),
    }
    found["ll.average"] = fmean((found["ll.disc"], found["ll.gen"]))
    for name, other in (("ant", ("ant", "flint4")), ("olive", ("olive", "olive_int4"))):
        found[f"ly/{name}"] = fmean((gain(short, other, 0), gain(long, other, DECODE_STEPS)))
    return found


def questions(made: Sequence[Entry], ranked: Sequence[Place]) -> dict[str, float]:
    """Return what nobody published: where the gain comes from and what is certain about it."""
    bases = baselines(made)
    ours = {}
    for point in ("decode/1", "prefill/256"):
        own = [
            e
            for e in made
            if e.point[1].endswith(point) and e.row.pe != BASELINE and not e.row.infeasible
        ]
        for iso in ISOS:
            certain = [energy_gain(e, bases[e.point]).low > 1 for e in own if e.iso == iso]
            ours[f"{point}.{iso}.certain"] = 100 * fmean(certain)
        fixed = [e for e in own if e.iso == "area"]
        faster = [speed_up(e, bases[e.point]).low > 1 for e in fixed]
        ours[f"{point}.faster"] = 100 * fmean(faster)
        for cause in ("gates", "dram"):
            here = [p for p in ranked if p.entry.point[1].endswith(point)]
            ours[f"{point}.flips.{cause}"] = 100 * fmean(cause in p.flips for p in here)
    return ours | _bits(made) | _shares(bases)


def _bits(made: Sequence[Entry]) -> dict[str, float]:
    """Return the decode speed-up over 16 / bits of weights: least, mean and most."""
    bases = baselines(made)
    ratios = [
        speed_up(e, bases[e.point]).nominal * _bits_of(e.row.weights) / 16
        for e in made
        if e.iso == "area" and e.row.workload.endswith("decode/1") and e.row.pe != BASELINE
    ]
    return {"bits.least": min(ratios), "bits.mean": fmean(ratios), "bits.most": max(ratios)}


def _bits_of(weights: str) -> float:
    return float(get(weights).bits_per_value)


def _shares(bases: Mapping[tuple[str, str], Entry]) -> dict[str, float]:
    """Return the part of FP16's energy that is in MACs, Llama-2-7B, in per cent."""
    return {
        f"{point}.macs": 100 * row.mac_j / row.energy_j
        for point in ("decode/1", "prefill/256")
        for row in (bases["area", f"llama-2-7b/{point}"].row,)
    }


def rungs(workloads: Iterable[str]) -> dict[str, float]:
    """Return how far the analytic rung is from the tile rung on FP16, at most, in per cent."""
    pe, frame = load_element(BASELINE), load_device(FRAME)
    apart = []
    for workload in workloads:
        tile, bound = (
            compared(pe, "fp16xfp16", workload, frame=frame, rung=rung) for rung in ("tile", RUNG)
        )
        apart.append(100 * abs(tile.latency_s / bound.latency_s - 1))
    return {"rungs.apart": max(apart)}
