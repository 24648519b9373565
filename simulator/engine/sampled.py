"""Does the device still compute the right numbers? A sampled tile of every distinct product.

Each product of a lowered workload is known by its size, its operands' formats and the pair that the
matrix unit multiplies; a tile of each is computed over all of K by the bit-exact datapath of the PE
on seeded data and compared with the scalar specification. Data: activations with outlier channels
and Gaussian weights; Gaussian queries and keys; probabilities are squares of Gaussian numbers, a
row adds up to one (powers of e are not the same on every machine).

Two formats are not what the workload says. Integers without a scale get one for the tensor, as data
of the wrong range would be all zeros. Scales of values (of PV) multiply the probabilities before
the product, so that the product itself sees one scale for the tensor.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite

import numpy as np

from simulator.errors import InputError
from simulator.formats import Format, get
from simulator.hardware.device import Device
from simulator.hardware.matrix import pair_formats
from simulator.mapping.lowering import Lowered, lower
from simulator.numerics.activity import activity
from simulator.numerics.data import random_matrix
from simulator.numerics.datapaths import datapath
from simulator.numerics.mac_paths import mac
from simulator.numerics.operands import Datapath, Operands
from simulator.numerics.verify import check_operands
from simulator.results import SampledProduct
from simulator.workload import Gemm, Graph, Op, OpKind, Workload

#: Largest tile, and how many of its outputs the scalar specification computes.
TILE_M, TILE_N, OUTPUTS = 8, 32, 16


@dataclass(frozen=True)
class Product:
    """A distinct product: one of (M x K) x (K x N), and what its operands hold."""

    m: int
    n: int
    k: int
    weights: Format
    activations: Format
    pair: str
    probabilities: bool
    attention: bool


def sampled_products(
    workload: Workload, device: Device, *, fused_attention: bool, seed: int
) -> tuple[SampledProduct, ...]:
    """Check a tile of each distinct product, in the order of the workload.

    Errors: InputError where the device cannot multiply a pair, or the datapath of a PE does not
    take the formats of a product that it is there for.
    """
    found: dict[Product, list[str]] = {}
    for segment in workload.segments:
        for low in lower(segment.graph, device, fused_attention=fused_attention):
            for op, gemm in _gemms(low):
                product = _product(segment.graph, low, op, gemm)
                names = found.setdefault(product, [])
                name = f"{segment.name}.{op.name}"
                if name not in names:
                    names.append(name)
    return tuple(
        _sampled(product, tuple(names), device, seed + index)
        for index, (product, names) in enumerate(found.items())
    )


def _gemms(low: Lowered) -> Iterator[tuple[Op, Gemm]]:
    """Yield the products of a lowered operation; attention has one of each kind a group."""
    for op in low.sources if low.pair is not None else ():
        if op.gemm is not None:
            yield op, op.gemm
        elif op.attention is not None and op.kind in (OpKind.QK, OpKind.PV):
            for gemm in op.attention.gemms(op.kind):
                yield op, gemm


def _product(graph: Graph, low: Lowered, op: Op, gemm: Gemm) -> Product:
    assert low.pair is not None
    activations, weights = (graph.tensor(name).format for name in op.inputs[:2])
    values = op.kind == OpKind.PV
    return Product(
        gemm.m,
        gemm.n,
        gemm.k,
        _for_tensor(weights) if values else _with_scale(weights),
        _with_scale(activations),
        low.pair,
        values,
        op.attention is not None,
    )


def _with_scale(form: Format) -> Format:
    """Return the format, for plain integers with one scale for the tensor."""
    plain = form.kind in ("int", "uint") and form.granularity == "none"
    return get(f"{form.base}-tensor") if plain else form


def _for_tensor(form: Format) -> Format:
    """Return the format with one scale for the tensor where it has any, or needs one."""
    scaled = form.granularity != "none" and form.kind != "block" and not form.selector_bits
    if not scaled:
        return _with_scale(form)
    return get(f"{form.base}-tensor" + ("-asym" if form.zero_bits else ""))


def _datapath(product: Product, device: Device) -> Datapath:
    pe = device.unit_of(product.pair).pe
    own = product.pair in pe.kernels
    path = datapath(pe.kernel(product.pair)) if own else mac(pair_formats(product.pair))
    problem = path.refused(product.weights, product.activations)
    if problem:
        raise InputError(f"{device.name}: PE '{pe.name}', {path.name}: {problem}")
    return path


def _sampled(product: Product, names: tuple[str, ...], device: Device, seed: int) -> SampledProduct:
    path = _datapath(product, device)
    operands = _operands(product, seed)
    check = check_operands(path, operands, seed=seed, outputs=OUTPUTS)
    w, x = (
        activity(product.weights, operands.w),
        activity(product.activations, operands.x),
    )
    return SampledProduct(
        ops=names,
        m=product.m,
        n=product.n,
        k=product.k,
        tile_m=check.shape[0],
        tile_n=check.shape[1],
        weight_format=product.weights.name,
        activation_format=product.activations.name,
        datapath=path.name,
        bit_exact=check.bit_exact,
        reference=check.reference,
        sqnr_db=_finite(check.sqnr_db),
        max_ulp=_finite(check.max_ulp),
        max_relative_error=_finite(check.max_relative_error),
        weight_bit_density=w.bit_density,
        weight_zero_fraction=w.zero_fraction,
        activation_bit_density=x.bit_density,
        activation_zero_fraction=x.zero_fraction,
    )


def _operands(product: Product, seed: int) -> Operands:
    """Return a tile's operands, encoded."""
    generator = np.random.default_rng(seed)
    rows, columns = min(product.m, TILE_M), min(product.n, TILE_N)
    kind = "gaussian" if product.attention else "outlier_channels"
    activations = random_matrix(kind, rows, product.k, generator)
    if product.probabilities:
        squares = activations**2
        activations = squares / squares.sum(axis=1, keepdims=True)
    weights = random_matrix("gaussian", columns, product.k, generator)
    return Operands(
        product.activations.encode(activations),
        product.weights.encode(weights),
        product.activations,
        product.weights,
    )


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None
