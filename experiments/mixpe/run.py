"""MixPE's released simulator again, and what its devices give on equal arrays and areas.

Writes claims.csv, profiles.csv (every device of every profile) and the figure mixpe.pdf and .png
to --out. README.md tells the story.
"""

import argparse
import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from profiles import PROFILES, Devices, gains, iso_area, mean_gains, read_areas
from released_model import ACCELERATORS, NETWORKS, normalised

from simulator.report.claims import claims_text, read_claims, write_claims
from simulator.report.paper import paper_figure
from simulator.results import prepare_folder

HERE = Path(__file__).parent
BASELINES = ("ANT", "BitFusion", "INT8")
PARTS = ("time", "static", "dram", "buffer", "core")
PROFILE_COLUMNS = (
    *("profile", "model", "accelerator", "rows", "columns", "cycles"),
    *("static_nj", "dram_nj", "buffer_nj", "core_nj"),
)
ABSTRACT = {"speed-up": 2.6, "energy reduction": 1.4}
COLOURS = {"ANT": "#4477aa", "BitFusion": "#ee7733", "INT8": "#aa3377"}


def equal_entries(model: str) -> float:
    """Return how many entries of a model in released.csv ours equals in both decimals."""
    ours = normalised(NETWORKS[model])
    with (HERE / "released.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["model"] == model]
    equal = [f"{ours[row['accelerator']][part]:.2f}" == row[part] for row in rows for part in PARTS]
    return float(sum(equal))


def released(models: Iterable[str]) -> dict[str, float]:
    """Return cycles and equal entries of the released tables by key of a claim."""
    ours: dict[str, float] = {}
    for model in models:
        for name, device in ACCELERATORS.items():
            ours[f"{model}.{name}.cycles"] = float(device.run(NETWORKS[model]).cycles)
        ours[f"{model}.entries"] = equal_entries(model)
    return ours


def means(profile: str) -> dict[str, float]:
    """Return MixPE-W4A8's mean gains over the baselines of one profile by key of a claim."""
    found = mean_gains(PROFILES[profile])
    ours: dict[str, float] = {}
    for name in BASELINES:
        ours[f"{profile}.{name}.time"], ours[f"{profile}.{name}.energy"] = found[name]
    return ours


def write_profiles(profiles: dict[str, Devices], models: Iterable[str], path: Path) -> None:
    """Write cycles and energies of every device of every profile."""
    prepare_folder(path.parent)
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(PROFILE_COLUMNS)
        for model in models:
            for profile, devices in profiles.items():
                for name, device in devices.items():
                    count, array = device.run(NETWORKS[model]), device.array
                    sizes = (array.rows, array.columns, count.cycles)
                    energies = (f"{nj:.6g}" for nj in count.energy(array).values())
                    out.writerow((profile, model, name, *sizes, *energies))


def draw(profiles: dict[str, Devices], folder: Path) -> None:
    """Draw speed-up and energy reduction: the mean as a bar mark, the four models as dots."""
    rows = [(profile, name) for profile in profiles for name in BASELINES]
    each = {
        profile: [gains(devices, model) for model in NETWORKS]
        for profile, devices in profiles.items()
    }
    mean = {profile: mean_gains(devices) for profile, devices in profiles.items()}
    with paper_figure(folder, "mixpe", height_in=0.6 + 0.6 * len(profiles)) as figure:
        panels = figure.subplots(1, 2, sharey=True)
        for side, (axes, title) in enumerate(zip(panels, ABSTRACT, strict=True)):
            axes.axvline(1.0, color="black", lw=0.6)
            axes.axvline(ABSTRACT[title], color="black", lw=0.8, ls="--")
            for place, (profile, name) in enumerate(rows):
                values = [found[name][side] for found in each[profile]]
                axes.plot(values, [place] * 4, "o", color=COLOURS[name], ms=2.5, alpha=0.6)
                axes.plot(mean[profile][name][side], place, "|", color=COLOURS[name], ms=8, mew=1.5)
            for edge in range(1, len(profiles)):
                axes.axhline(3 * edge - 0.5, color="#cccccc", lw=0.6)
            axes.set_xscale("log")
            ticks = (0.5, 1, 2, 4, 8)
            axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            axes.minorticks_off()
            axes.set_xlim(0.34, 11)
            axes.tick_params(axis="y", length=0)
            axes.set_xlabel(f"{title} of W4A8")
        centres = [3 * number + 1 for number in range(len(profiles))]
        panels[0].set_yticks(
            centres, [profile.replace("-c", "\n-c").replace("-g", "\n-g") for profile in profiles]
        )
        panels[0].set_ylim(len(rows) - 0.5, -0.5)
        for name, colour in COLOURS.items():
            panels[0].plot([], [], "o", color=colour, ms=3, label=f"over {name}")
        panels[0].plot([], [], color="black", lw=0.8, ls="--", label="abstract")
        figure.legend(loc="outside upper center", ncols=4, handlelength=1.2)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the comparison; --small: ViT alone, no means over models, no figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="ViT alone, no figure")
    parser.add_argument("--out", type=Path, default=Path("out/mixpe"), help="folder for results")
    parser.add_argument("--pe-area", type=Path, help="CSV accelerator,area_um2: another iso-area")
    args = parser.parse_args(argv)
    profiles = dict(PROFILES)
    if args.pe_area:
        profiles["iso-area-given"] = iso_area(read_areas(args.pe_area))
    models = ["ViT"] if args.small else list(NETWORKS)
    ours = released(models)
    if not args.small:
        for profile in PROFILES:
            ours |= means(profile)
    claims = read_claims(HERE / "published.csv", ours)
    write_claims(claims, args.out / "claims.csv")
    write_profiles(profiles, models, args.out / "profiles.csv")
    if not args.small:
        draw(profiles, args.out)
    print(claims_text("MixPE's released tables, and its devices on equal arrays and areas", claims))


if __name__ == "__main__":
    main()
