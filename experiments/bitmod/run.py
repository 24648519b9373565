"""BitMoD's released simulator, in the paper's version and as it is today, and our tile rung.

Writes claims.csv (published and ours), quirks.csv (the headline gains with one quirk switched off
at a time, and those of our rung), tile_rung.csv (each point, released and ours) and the figure
bitmod.pdf and .png to --out. README.md tells the story.
"""

import argparse
import csv
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from operator import truediv
from pathlib import Path
from statistics import fmean, geometric_mean

from figure import draw
from released_model import (
    ACCELERATORS,
    HEAD,
    MODELS,
    PAPER,
    PHASES,
    VERSIONS,
    Phase,
    Quirk,
    Run,
    Version,
    gains,
    gains_of,
    run,
    task_totals,
)
from tile_rung import FULL_WORD_BITS, NEAREST, PLAIN, point, totals

from simulator.report.claims import claims_text, read_claims, write_claims
from simulator.results import prepare_folder

HERE = Path(__file__).parent
BITMOD_NAMES = ("bitmod_ll", "bitmod_ly", "bitmod_ly/ant", "bitmod_ly/olive")
TASK_NAMES = (*BITMOD_NAMES, "ant", "olive")
#: The gains that somebody published, or that released output gives, by version.
HEADLINES = {
    "paper": (
        *(f"speed.discriminative.{name}" for name in TASK_NAMES),
        *(f"speed.generative.{name}" for name in TASK_NAMES),
        *(f"speed.average.bitmod_ly/{name}" for name in ("ant", "olive")),
        *(f"energy.generative.{name}" for name in ("bitmod_ll", "bitmod_ly", "ant", "olive")),
        *(f"energy.average.{name}" for name in ("bitmod_ll", "bitmod_ly/ant", "bitmod_ly/olive")),
    ),
    "HEAD": (
        *(f"speed.discriminative.{name}" for name in BITMOD_NAMES),
        *(f"speed.generative.{name}" for name in BITMOD_NAMES),
        *(f"energy.average.bitmod_ly/{name}" for name in ("ant", "olive")),
    ),
}
#: Batch and context of decode steps that HEAD was run with.
POINTS = ((1, 256), (1, 2048), (16, 256), (16, 2048), (64, 256), (64, 2048))
#: Table X of the paper, one tile: PEs, and um2 of them without the encoder.
TABLE_X = {"fp16": (48, 95_498), "bitmod_ll": (64, 97_090)}
#: Columns of quirks.csv: the gain that each shows.
SHOWN = {
    "LL, disc.": "speed.discriminative.bitmod_ll",
    "LL, gen.": "speed.generative.bitmod_ll",
    "LY/ANT": "speed.average.bitmod_ly/ant",
    "LY/OliVe": "speed.average.bitmod_ly/olive",
    "LY/OliVe, gen.": "speed.generative.bitmod_ly/olive",
    "energy LL": "energy.average.bitmod_ll",
    "energy LY/ANT": "energy.average.bitmod_ly/ant",
    "energy LY/OliVe": "energy.average.bitmod_ly/olive",
}
#: Gains of our tile rung that are claims, beside those shown.
TILE_GAINS = (
    *(f"speed.discriminative.bitmod_ly/{name}" for name in ("ant", "olive")),
    "speed.generative.bitmod_ly/ant",
    *SHOWN.values(),
)
#: The model that the small form runs on our rung.
EXAMPLE = "llama-2-7b"
TILE_COLUMNS = (
    *("model", "accelerator", "phase"),
    *("released_cycles", "plain_cycles", "our_formats_cycles", "ours_cycles"),
    *("released_dram_gb", "our_formats_dram_gb", "ours_dram_gb", "released_uj", "ours_uj"),
)


def headlines() -> dict[str, float]:
    """Return the gains of both versions by key of a claim."""
    found = {name: gains(version) for name, version in VERSIONS.items()}
    return {f"{name}.{key}": found[name][key] for name, keys in HEADLINES.items() for key in keys}


def rows(name: str) -> list[dict[str, str]]:
    """Return the rows of a CSV of released output."""
    with (HERE / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def is_equal(own: Run, row: dict[str, str]) -> bool:
    """Whether a run has the cycles and DRAM energy of a row, and its printed microjoules."""
    exact = (str(own.compute_cycles), str(own.cycles), repr(own.dram_uj))
    printed = (str(round(own.on_chip_uj)), str(round(own.total_uj)))
    return exact == (row["compute_cycles"], row["cycles"], row["dram_uj"]) and printed == (
        row["printed_on_chip_uj"],
        row["printed_total_uj"],
    )


def phase_of(row: dict[str, str]) -> Phase:
    """Return the phase of a row of released_runs.csv."""
    return "prefill" if row["phase"] == "prefill" else "decode"


def equal_points() -> dict[str, float]:
    """Return how many points of released output each version gives exactly."""
    names = {version.commit: name for name, version in VERSIONS.items()}
    ours = dict.fromkeys(("paper.points", "HEAD.points", "HEAD.batches"), 0.0)
    for row in rows("released_runs.csv"):
        name = names[row["version"]]
        own = run(VERSIONS[name], row["accelerator"], row["model"], phase_of(row))
        ours[f"{name}.points"] += is_equal(own, row)
    for row in rows("released_batches.csv"):
        sizes = {"batch": int(row["batch"]), "context": int(row["context"])}
        own = run(HEAD, row["accelerator"], row["model"], "decode", **sizes)
        ours["HEAD.batches"] += own.cycles == int(row["cycles"])
    return ours


def decode_speed_up(version: Version, batch: int, context: int) -> float:
    """Return the speed-up of BitMoD-LY over FP16 in one decode step of Llama-2-7B."""
    step = partial(run, model="llama-2-7b", phase="decode", batch=batch, context=context)
    return step(version, "fp16").cycles / step(version, "bitmod_ly").cycles


def batches() -> dict[str, float]:
    """Return HEAD's decode speed-ups by batch and context, and the bound of the first."""
    ours = {f"HEAD.b{b}.c{c}": decode_speed_up(HEAD, b, c) for b, c in POINTS}
    return ours | {"HEAD.decode_limit": ours["HEAD.b1.c256"]}


def constants() -> dict[str, float]:
    """Return the simulator's PEs, one printed case, and Table X divided."""
    example = run(HEAD, "bitmod_ly", "llama-2-7b", "decode")
    fp16, bitmod = (ACCELERATORS[name] for name in TABLE_X)
    areas = [um2 / pes for pes, um2 in TABLE_X.values()]
    return {
        "example.on_chip_uj": example.on_chip_uj,
        "example.array_mm2": bitmod.array_mm2,
        "example.buffer_mm2": bitmod.buffers("decode", 3.0625)[0].area_mm2,
        "pe.fp16.um2": fp16.pe_um2,
        "pe.bitmod.um2": bitmod.pe_um2,
        "pe.fp16.pj": fp16.pe_pj,
        "pe.bitmod.pj": bitmod.pe_pj,
        "pe.bitmod_encoder.pj": bitmod.pe_pj,
        "table_x.area": areas[1] / areas[0],
        "average.rounded": fmean((1.56, 1.39)),
    }


def summed_energies() -> dict[str, float]:
    """Return the paper's energy gains by another mean: of energies summed over the models."""
    sums: dict[str, list[float]] = {}
    for name in ("fp16", "ant", "olive", "bitmod_ll", "bitmod_ly"):
        totals = task_totals(PAPER, name).values()
        sums[name] = [sum(microjoules for _, microjoules in task) for task in totals]
    pairs = {"bitmod_ll": "fp16", "bitmod_ly/ant": "ant", "bitmod_ly/olive": "olive"}
    return {
        f"paper.energy.summed.{key}": fmean(map(truediv, sums[base], sums[key.split("/")[0]]))
        for key, base in pairs.items()
    }


def variants() -> dict[str, dict[str, float]]:
    """Return all gains of each version, with one thing about it changed at a time.

    Then those of the way from the paper's version to HEAD, each with the changes before it; the
    last is HEAD.
    """
    found = {}
    for name, version in VERSIONS.items():
        found[name] = gains(version)
        for quirk in Quirk:
            if quirk in version.quirks:
                found[f"{name}, no {quirk}"] = gains(version.without(quirk))
        found[f"{name}, 256 decode steps"] = gains(version, decode_steps=256)
        found[f"{name}, geometric means"] = gains(version, mean=geometric_mean)
    apart = PAPER.without(Quirk.MERGED_HEADS, Quirk.ROWS_OF_OUTPUT)
    own_bits = apart.without(Quirk.ATTENTION_BY_WEIGHT_BITS)
    narrow = replace(own_bits, kv_bits=HEAD.kv_bits)
    return found | {
        "paper to HEAD: heads apart": gains(apart),
        "paper to HEAD: attention by its own bits": gains(own_bits),
        "paper to HEAD: KV of 8 bits on BitMoD": gains(narrow),
        "paper to HEAD: precisions of ANT and OliVe": gains(replace(narrow, bits=HEAD.bits)),
    }


def tile_points() -> dict[str, float]:
    """Return our cycles of each accelerator on `EXAMPLE` by key of a claim."""
    return {
        f"tile.{phase}.{name}": point(name, EXAMPLE, phase).cycles
        for phase in PHASES
        for name in ACCELERATORS
    }


def tile_ratios() -> dict[str, float]:
    """Return our cycles over those of the released model nearest to ours, mean of the models."""
    return {
        f"tile.nearest.{phase}.{name}": fmean(
            point(name, model, phase).cycles / run(NEAREST, name, model, phase).cycles
            for model in MODELS
        )
        for phase in PHASES
        for name in ACCELERATORS
    }


def tile_variants() -> dict[str, dict[str, float]]:
    """Return all gains on the way from the paper's version to our tile rung."""
    return {
        "paper without quirks": gains(PLAIN),
        "paper without quirks, our formats": gains(NEAREST),
        "tile rung": gains_of(totals()),
        "tile rung, full words": gains_of(totals(word_bits=FULL_WORD_BITS)),
        "tile rung, 256 decode steps": gains_of(totals(256)),
    }


def write_tile_rung(models: Sequence[str], path: Path) -> None:
    """Write each point: the released model's, its nearest to ours, and ours."""
    with (prepare_folder(path.parent) / path.name).open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(TILE_COLUMNS)
        for model, name, phase in product(models, ACCELERATORS, PHASES):
            released, plain, near = (
                run(version, name, model, phase) for version in (PAPER, PLAIN, NEAREST)
            )
            ours = point(name, model, phase)
            cycles = (released.cycles, plain.cycles, near.cycles, round(ours.cycles))
            moved = (released.dram_bytes, near.dram_bytes, ours.dram_bytes)
            energies = (released.total_uj, ours.total_uj)
            shown = (f"{each:.6g}" for each in (*(byte / 1e9 for byte in moved), *energies))
            out.writerow((model, name, phase, *cycles, *shown))


def write_quirks(found: dict[str, dict[str, float]], path: Path) -> None:
    """Write the shown gains of each variant, in full."""
    with (prepare_folder(path.parent) / path.name).open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(("variant", *SHOWN))
        for variant, values in found.items():
            out.writerow((variant, *(values[key] for key in SHOWN.values())))


def main(argv: Sequence[str] | None = None) -> None:
    """Run the comparison; --small: one model on our rung, no figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="one model on our rung, no figure")
    parser.add_argument("--out", type=Path, default=Path("out/bitmod"), help="folder for results")
    args = parser.parse_args(argv)
    ours = headlines() | summed_energies() | equal_points() | batches() | constants()
    ours |= tile_points()
    found = variants()
    if not args.small:
        found |= tile_variants()
        ours |= tile_ratios()
        ours |= {f"tile.{key}": found["tile rung"][key] for key in TILE_GAINS}
    claims = read_claims(HERE / "published.csv", ours)
    write_claims(claims, args.out / "claims.csv")
    write_quirks(found, args.out / "quirks.csv")
    write_tile_rung([EXAMPLE] if args.small else MODELS, args.out / "tile_rung.csv")
    if not args.small:
        draw(found, claims, args.out)
    print(claims_text("BitMoD's released simulator, both versions, and our tile rung", claims))


if __name__ == "__main__":
    main()
