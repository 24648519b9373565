"""Decode of Llama-2-7B in int8 over batch and context on two devices; see README.md."""

import argparse
import csv
from collections.abc import Sequence
from itertools import product
from pathlib import Path

from simulator import InfeasibleError, decode_step, load_device, load_model, simulate
from simulator.report.claims import claims_text, read_claims, write_claims
from simulator.report.paper import paper_figure

DEVICES = {"tpu_v4": ("TPU v4", "C0o-"), "a100": ("A100", "C1s--")}
SMALL = {"batch": (1, 32, 256), "context": (512, 4096)}
COLUMNS = ("device", "batch", "context", "tokens_per_s", "millijoule_per_token", "infeasible")
Row = tuple[str, int, int, float | None, float | None, str]


def point(device: str, batch: int, context: int) -> Row:
    """Simulate one decode step; return a row of the table, with a reason where it cannot run."""
    int8 = {"weights": "int8", "activations": "int8", "kv": "int8"}
    step = decode_step(load_model("llama-2-7b"), batch=batch, context=context, **int8)
    try:
        result = simulate(load_device(device), step)
    except InfeasibleError as error:
        return device, batch, context, None, None, str(error)
    return device, batch, context, result.tokens_per_s, result.energy_j * 1e3 / batch, ""


def draw(rows: Sequence[Row], contexts: Sequence[int], out: Path) -> None:
    """Draw tokens/s and energy per token over the batch, a line a device and context."""
    with paper_figure(out, "batch_sweep", height_in=3.4) as figure:
        top, bottom = figure.subplots(2, 1, sharex=True)
        for (i, context), (device, (name, style)) in product(enumerate(contexts), DEVICES.items()):
            line = [row for row in rows if row[0] == device and row[2] == context and not row[5]]
            look = {"alpha": 1 - 0.3 * i, "label": f"{name}, {context} tokens"}
            for axes, column in ((top, 3), (bottom, 4)):
                axes.plot([row[1] for row in line], [row[column] for row in line], style, **look)
        top.set(yscale="log", ylabel="tokens/s")
        bottom.set(yscale="log", ylabel="energy per token (mJ)", xlabel="batch (requests)")
        bottom.set_xscale("log", base=2)
        figure.legend(*top.get_legend_handles_labels(), loc="outside upper center", ncols=3)


def main(argv: Sequence[str] | None = None) -> None:
    """Sweep, write claims.csv, batch_sweep.csv and the figure; --small takes few points."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("out/batch_sweep"))
    args = parser.parse_args(argv)
    batches = SMALL["batch"] if args.small else tuple(2**i for i in range(10))
    contexts = SMALL["context"] if args.small else (512, 2048, 4096)
    rows = [point(*where) for where in product(DEVICES, batches, contexts)]
    draw(rows, contexts, args.out)
    with (args.out / "batch_sweep.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *rows])
    asked = [row for row in rows if row[1] in SMALL["batch"] and row[2] in SMALL["context"]]
    ours = {
        f"{row[0]}.{row[1]}.{row[2]}.{name}": value
        for row in asked
        for name, value in zip(COLUMNS[3:5], row[3:5], strict=True)
        if value is not None
    }
    claims = read_claims(Path(__file__).with_name("published.csv"), ours)
    write_claims(claims, args.out / "claims.csv")
    print(
        claims_text(f"{len(rows)} points, {sum(row[5] != '' for row in rows)} infeasible", claims)
    )


if __name__ == "__main__":
    main()
