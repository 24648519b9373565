"""Element operations of everything that is not a matrix product, by function.

One formula per kind, stated in the docstring; T is tokens, H the row length, E elements. A sum of H
values counts H additions. Negation, comparison for a mask and moving data inside an operation are
free. erf is booked as `tanh` (one transcendental evaluation). Tables of sines and cosines and
1/sqrt(head_dim) (folded into the query weights) are taken as ready.
"""

from simulator.formats import Format
from simulator.workload.ops import VectorWork


def work(**counts: int) -> VectorWork:
    """Return pairs (function, count), by name, without zeros."""
    return tuple(sorted((name, count) for name, count in counts.items() if count))


def embedding(tokens: int, hidden: int, *, learned: bool, scaled: bool) -> VectorWork:
    """Copy T H; learned positions add T H; a scale of the embedding (Gemma) multiplies T H."""
    elements = tokens * hidden
    return work(copy=elements, add=learned * elements, mul=scaled * elements)


def rms_norm(tokens: int, width: int) -> VectorWork:
    """Count x g / sqrt(mean(x^2) + eps) (Zhang and Sennrich 2019).

    mul 3 T H + T (square, scale, gain; 1/H), add T H + T (sum; eps), rsqrt T.
    """
    elements = tokens * width
    return work(mul=3 * elements + tokens, add=elements + tokens, rsqrt=tokens)


def layer_norm(tokens: int, width: int) -> VectorWork:
    """Count (x - mean) / sqrt(variance + eps) g + b (Ba et al. 2016), in two passes.

    add 4 T H + T (mean, centre, variance, bias; eps), mul 3 T H + 2 T (square, scale, gain; 1/H
    twice), rsqrt T.
    """
    elements = tokens * width
    return work(mul=3 * elements + 2 * tokens, add=4 * elements + tokens, rsqrt=tokens)


def bias(rows: int, columns: int) -> VectorWork:
    """Add rows x columns."""
    return work(add=rows * columns)


def rope(tokens: int, heads: int, rotary_dim: int) -> VectorWork:
    """Count x cos + rotate(x) sin (Su et al. 2021): mul 2 E, add E, for E = T heads rotary_dim.

    `heads` counts query and key heads.
    """
    elements = tokens * heads * rotary_dim
    return work(mul=2 * elements, add=elements)


def kv_append(values: int, vectors: int, width: int, source: Format, target: Format) -> VectorWork:
    """Copy E when the format stays, else quantise E = `values` in `vectors` rows of `width`.

    Both keys and values are counted by the caller.
    """
    if source == target:
        return work(copy=values)
    return quantise(values, vectors, width, target)


def quantise(values: int, vectors: int, width: int, target: Format) -> VectorWork:
    """Count the quantisation of E = `values` in `vectors` rows of `width`, scales chosen from them.

    convert E; with S scales max E (the range; twice with a zero point, and add E), div S (the
    reciprocal), mul E.
    """
    scales = target.scales(vectors, width)
    if not scales:
        return work(convert=values)
    zeros = target.zero_bits > 0
    return work(
        convert=values, max=(1 + zeros) * values, mul=values, div=scales, add=zeros * values
    )


def softmax(
    scores: int, rows: int, *, alibi: bool, softcap: bool, converted: bool = False
) -> VectorWork:
    """Count stable softmax over E valid scores in R rows.

    max E, add 2 E (subtract, sum), exp E, mul E (by the reciprocal), div R. ALiBi adds E; a soft
    cap c tanh(s / c) (Gemma 2) adds mul 2 E and tanh E; `converted` probabilities convert E.
    Causal and windowed attention count the
    scores that the mask leaves; a device that issues whole tiles, or fuses, does more.
    """
    return work(
        max=scores,
        add=(3 if alibi else 2) * scores,
        exp=scores,
        mul=(3 if softcap else 1) * scores,
        div=rows,
        tanh=softcap * scores,
        convert=converted * scores,
    )


def softcap(elements: int) -> VectorWork:
    """Count c tanh(x / c): mul 2 E, tanh E."""
    return work(mul=2 * elements, tanh=elements)


def activation(function: str, elements: int, *, gated: bool) -> VectorWork:
    """Count a non-linear function of E elements; a gate (times the other branch) adds mul E.

    silu x / (1 + exp(-x)): exp E, add E, div E. gelu x/2 (1 + erf(x / sqrt 2)): mul 3 E, tanh E,
    add E. gelu_tanh x/2 (1 + tanh(x (c + d x^2))): mul 5 E, add 2 E, tanh E. relu: max E.
    """
    gate = elements if gated else 0
    match function:
        case "silu":
            return work(exp=elements, add=elements, div=elements, mul=gate)
        case "gelu":
            return work(mul=3 * elements + gate, tanh=elements, add=elements)
        case "gelu_tanh":
            return work(mul=5 * elements + gate, add=2 * elements, tanh=elements)
        case "relu":
            return work(max=elements, mul=gate)
        case _:
            raise ValueError(f"no operation counts for activation {function!r}")


def add(elements: int) -> VectorWork:
    """Add E."""
    return work(add=elements)


def all_reduce(elements: int, devices: int) -> VectorWork:
    """Add what the busiest device of a ring adds (Patarasuk and Yuan 2009): E - floor(E / n).

    E elements in n chunks: in the reduce-scatter each device adds n - 1 of them, all but one; the
    all-gather that follows moves sums and adds nothing.
    """
    return work(add=elements - elements // devices)
