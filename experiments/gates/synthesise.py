"""What an open synthesis makes of the units: for least area, and as fast as it can.

    python experiments/gates/synthesise.py --out FOLDER     # needs yosys and berkeley-abc

Yosys turns `units.v` into AND gates and inverters, which are run here on random operands against
NumPy; ABC maps them to a library, once for least area and once for speed with sizes. The library
is of logical effort (Weste and Harris, 4th ed., tables 4.2 and 4.3): delays in tau, five of which
are an inverter's with a fan-out of four (FO4), no wires; areas are those of NanGate 45 nm, sizes
X1, X2, X4 (X8). It has no full adder. Writes synthesised.csv: areas in um2, delays in FO4.
"""

import argparse
import csv
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np

from simulator.errors import InputError
from simulator.results import prepare_folder

HERE = Path(__file__).parent
SAMPLES = 200000
TAU_PER_FO4 = 5
#: Loads in input capacitances of the smallest inverter, at which delays are given.
LOADS = (0, 2, 4, 8, 16, 32, 64)
Bits: TypeAlias = np.ndarray
#: From both operands and the result: where it is wrong.
Check: TypeAlias = Callable[[Bits, Bits, Bits], Bits]


class Gate(NamedTuple):
    """Function, logical effort of each input, parasitic delay, areas of X1, X2, X4."""

    function: str
    efforts: dict[str, float]
    parasitic: float
    areas: tuple[float, ...]


def _same(names: str, effort: float) -> dict[str, float]:
    return dict.fromkeys(names, effort)


GATES = {
    "INV": Gate("!A", _same("A", 1), 1, (0.532, 0.798, 1.33, 2.394)),
    "NAND2": Gate("!(A*B)", _same("AB", 4 / 3), 2, (0.798, 1.33, 2.394)),
    "NOR2": Gate("!(A+B)", _same("AB", 5 / 3), 2, (0.798, 1.33, 2.394)),
    "NAND3": Gate("!(A*B*C)", _same("ABC", 5 / 3), 3, (1.064, 1.862, 3.458)),
    "NOR3": Gate("!(A+B+C)", _same("ABC", 7 / 3), 3, (1.064, 1.862, 3.724)),
    "AOI21": Gate("!((A*B)+C)", {"A": 2, "B": 2, "C": 5 / 3}, 7 / 3, (1.064, 1.862, 3.458)),
    "OAI21": Gate("!((A+B)*C)", {"A": 2, "B": 2, "C": 5 / 3}, 7 / 3, (1.064, 1.862, 3.458)),
    "AOI22": Gate("!((A*B)+(C*D))", _same("ABCD", 2), 4, (1.33, 2.394, 4.522)),
    "OAI22": Gate("!((A+B)*(C+D))", _same("ABCD", 2), 4, (1.33, 2.394, 4.522)),
    "XOR2": Gate("A^B", _same("AB", 4), 4, (1.596, 2.394, 4.788)),
    "XNOR2": Gate("!(A^B)", _same("AB", 4), 4, (1.596, 2.66, 5.32)),
}
#: An inverter of the cell's size behind a gate of half of it, of X1 at least.
BUFFERED = {
    "BUF": Gate("A", _same("A", 1), 1, (0.798, 1.064, 1.862)),
    "AND2": Gate("A*B", _same("AB", 4 / 3), 2, (1.064, 1.33, 2.394)),
    "OR2": Gate("A+B", _same("AB", 5 / 3), 2, (1.064, 1.33, 2.394)),
    "MUX2": Gate("(A*!S)+(B*S)", {"A": 2, "B": 2, "S": 2}, 4, (1.862, 2.394, 4.788)),
}


def library() -> str:
    """Return the library in Liberty; its unit of time is tau, written as ns."""
    loads = ",".join(map(str, LOADS))
    head = (
        'library(effort) { delay_model : table_lookup; time_unit : "1ns";\n'
        ' capacitive_load_unit (1,pf); voltage_unit : "1V"; default_max_transition : 1000;\n'
        " lu_table_template(t) { variable_1 : input_net_transition;"
        " variable_2 : total_output_net_capacitance;\n"
        f'  index_1("0.1,0.5,1,5,10,50,100"); index_2("{loads}"); }}\n'
    )
    cells = []
    for name, gate in (GATES | BUFFERED).items():
        for step, area in enumerate(gate.areas):
            size = 1 << step
            first = max(size / 2, 1) if name in BUFFERED else size
            behind = size / first + 1 if name in BUFFERED else 0
            cells.append(_cell(f"{name}_X{size}", gate, area, size, first, gate.parasitic + behind))
    return head + "".join(cells) + "}\n"


def _cell(name: str, gate: Gate, area: float, size: int, first: float, fixed: float) -> str:
    row = ",".join(f"{fixed + load / size:.4f}" for load in LOADS)
    slope = ",".join(f"{0.5 + load / 2:.4f}" for load in LOADS)
    delay, edge = (f"values({','.join([f'{chr(34)}{one}{chr(34)}'] * 7)});" for one in (row, slope))
    arcs = "".join(
        f' timing() {{ related_pin : "{pin}"; cell_rise(t) {{ {delay} }} cell_fall(t) {{ {delay} }}'
        f" rise_transition(t) {{ {edge} }} fall_transition(t) {{ {edge} }} }}\n"
        for pin in gate.efforts
    )
    pins = "".join(
        f" pin({pin}) {{ direction : input; capacitance : {effort * first:.4f}; }}\n"
        for pin, effort in gate.efforts.items()
    )
    drives = f'function : "{gate.function}"; max_capacitance : {60 * size};'
    out = f" pin(Y) {{ direction : output; {drives}\n"
    return f"cell({name}) {{ area : {area};\n{pins}{out}{arcs} }} }}\n"


#: For least area; and for speed: structures of least depth, then buffers and sizes.
AREA = "strash; ifraig; scorr; dc2; dc2; strash; dch -f; map -a; topo; stime"
RESYN = "balance; rewrite; refactor; balance; rewrite; rewrite -z; balance; refactor -z; rewrite -z"
SPEED = (
    f"strash; ifraig; scorr; dc2; balance; {RESYN}; balance; {RESYN}; balance; if -g -K 6 -C 8;"
    " strash; dch -f; map -B 0.9 -D 1; topo; buffer -c; upsize; dnsize; upsize; dnsize; stime"
)


def elaborated(unit: str, folder: Path) -> None:
    """Write a unit's AND gates and inverters, as text and for ABC."""
    script = (
        f"read_verilog {HERE / 'units.v'}; synth -flatten -top {unit}; opt_clean -purge; aigmap;"
        f" write_aiger -ascii -symbols {folder / unit}.aag; write_aiger {folder / unit}.aig"
    )
    _run([_tool("yosys"), "-q", "-p", script])


def mapped(unit: str, folder: Path, how: str) -> tuple[float, float]:
    """Return area in um2 and delay in FO4 of a unit."""
    script = f"read_lib {folder / 'effort.lib'}; read_aiger {folder / unit}.aig; {how}"
    text = _run([_tool("berkeley-abc"), "-q", script])
    line = next(line for line in reversed(text.splitlines()) if "Area =" in line)
    area, delay = (_after(line, name) for name in ("Area =", "Delay ="))
    return area, delay / 1000 / TAU_PER_FO4


def _after(line: str, name: str) -> float:
    return float(line.split(name)[1].split()[0].split("\x1b")[0])


def _tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise InputError(f"needs the program {name}")
    return found


def _run(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def outputs(path: Path, operands: dict[str, Bits]) -> Bits:
    """Return the words that AND gates give: each input and the output a row of bits a sample."""
    lines = path.read_text(encoding="utf-8").splitlines()
    _, inputs, _, ends, ands = (int(number) for number in lines[0].split()[1:])
    names = dict(line.split() for line in lines if line[:1] in "io" and " " in line)
    samples = next(iter(operands.values())).shape[1]
    values = {0: np.zeros(samples, bool)}

    def of(literal: int) -> Bits:
        value = values[literal & ~1]
        return ~value if literal & 1 else value

    for place in range(inputs):
        word, bit = names[f"i{place}"].rstrip("]").split("[")
        values[int(lines[1 + place])] = operands[word][int(bit)]
    for line in lines[1 + inputs + ends : 1 + inputs + ends + ands]:
        node, one, other = map(int, line.split())
        values[node] = of(one) & of(other)
    result = np.zeros((ends, samples), bool)
    for place in range(ends):
        bit = int(names[f"o{place}"].rstrip("]").split("[")[1])
        result[bit] = of(int(lines[1 + inputs + place]))
    return result


def bits_of(words: Bits, width: int) -> Bits:
    """Return bits, the lowest first, a column a word."""
    return (words[None, :] >> np.arange(width, dtype=np.uint64)[:, None] & np.uint64(1)).astype(
        bool
    )


def words_of(bits: Bits) -> Bits:
    """Return unsigned words of bits."""
    return (bits.astype(np.uint64) << np.arange(len(bits), dtype=np.uint64)[:, None]).sum(0)


def _float(operation: Callable[[Bits, Bits], Bits], kind: type, raw: type, flush: bool) -> Check:
    least = np.finfo(kind).smallest_normal

    def wrong(a: Bits, b: Bits, y: Bits) -> Bits:
        x, w, found = (word.astype(raw).view(kind) for word in (a, b, y))
        if flush:
            x, w = (np.where(np.abs(one) < least, kind(0), one) for one in (x, w))
        with np.errstate(all="ignore"):
            expected = operation(x, w)
        same = (found == expected) | (np.isnan(found) & np.isnan(expected))
        # A result at the smallest normal number may have been rounded up to it.
        return ~same & ~(flush & (np.abs(expected) <= least) & (np.abs(found) <= least))

    return wrong


def _whole(operation: Callable[[Bits, Bits], Bits], width: int) -> Check:
    return lambda a, b, y: y != operation(a, b) % np.uint64(1 << width)


def _four_terms(a: Bits, b: Bits, y: Bits) -> Bits:
    """Compare with BitMoD's sum of four lanes in plain integers."""
    x = [(a >> np.uint64(16 * lane) & np.uint64(0xFFFF)).astype(np.int64) for lane in range(4)]
    terms = [(b >> np.uint64(4 * lane) & np.uint64(15)).astype(np.int64) for lane in range(4)]
    exponents = [(one >> 10 & 31) + (term & 3) for one, term in zip(x, terms, strict=True)]
    top = np.maximum.reduce(exponents)
    total = np.zeros_like(top)
    for one, term, exponent in zip(x, terms, exponents, strict=True):
        significand = np.where(one >> 10 & 31, 1024, 0) + (one & 1023)
        size = (significand * (term >> 2 & 1) << 3) >> (top - exponent)
        total += np.where(one >> 15 ^ term >> 3, -size, size)
    return y.astype(np.int64) != (top << 17) + total % (1 << 17)


#: Widths of both operands, and where a result is wrong.
UNITS: dict[str, tuple[int, int, Check]] = {
    "int8_add": (8, 8, _whole(np.add, 8)),
    "int32_add": (32, 32, _whole(np.add, 32)),
    "int8_mul": (8, 8, _whole(np.multiply, 16)),
    "fp16_add": (16, 16, _float(np.add, np.float16, np.uint16, flush=False)),
    "fp32_add": (32, 32, _float(np.add, np.float32, np.uint32, flush=False)),
    "fp16_mul": (16, 16, _float(np.multiply, np.float16, np.uint16, flush=True)),
    "fp32_mul": (32, 32, _float(np.multiply, np.float32, np.uint32, flush=True)),
    "bitmod_four_terms": (64, 16, _four_terms),
}


def check(unit: str, folder: Path) -> None:
    """Raise ValueError where a unit's gates differ from NumPy on random operands."""
    left, right, wrong = UNITS[unit]
    generator = np.random.default_rng(1)
    a, b = (generator.integers(0, 1 << 64, SAMPLES, np.uint64, endpoint=False) for _ in range(2))
    a, b = a >> np.uint64(64 - left), b >> np.uint64(64 - right)
    if left == right:
        # Half of the operands near each other, so that sums cancel: signs and low bits differ.
        near = a ^ b >> np.uint64(left // 3) ^ (b & np.uint64(1)) << np.uint64(left - 1)
        b = np.where(np.arange(SAMPLES) % 2, near, b)
    found = outputs(folder / f"{unit}.aag", {"a": bits_of(a, left), "b": bits_of(b, right)})
    number = int(np.count_nonzero(wrong(a, b, words_of(found))))
    if number:
        raise ValueError(f"{unit}: {number} of {SAMPLES} results differ from NumPy's")


def main(argv: Sequence[str] | None = None) -> None:
    """Elaborate, check and map all units."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=Path("out/synthesis"), help="folder for results"
    )
    args = parser.parse_args(argv)
    prepare_folder(args.out)
    (args.out / "effort.lib").write_text(library(), encoding="utf-8")
    with (args.out / "synthesised.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("unit", "um2_small", "fo4_small", "um2_fast", "fo4_fast"))
        for unit in UNITS:
            elaborated(unit, args.out)
            check(unit, args.out)
            small, fast = (mapped(unit, args.out, how) for how in (AREA, SPEED))
            rows.writerow((unit, *(f"{value:.5g}" for value in (*small, *fast))))


if __name__ == "__main__":
    main()
