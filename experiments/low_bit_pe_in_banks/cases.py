"""What is compared: elements with their formats, products as matrices times vectors."""

from typing import NamedTuple

from simulator.api import load_model
from simulator.formats import get

MODEL = "llama-3-8b"
CONTEXT = 4096
#: Requests whose keys and values are multiplied: as many as the largest batch.
REQUESTS = 16
BATCHES = (1, 2, 4, 8, 16)
#: Query heads that share keys and values, of as many query heads as the model has.
GROUPS = (1, 2, 4, 8)


class Element(NamedTuple):
    """An element, its formats, and the rows and columns of its array beside the memory.

    weights: of FFN and QKVO. kv: of keys and values, groups along the inputs of each product. All
    arrays do equally many MACs a cycle, 16,384.
    """

    label: str
    pe: str
    weights: str
    kv: str
    rows: int
    columns: int


ELEMENTS = {
    each.label: each
    for each in (
        Element("FP16", "fp16_fma", "fp16", "fp16", 128, 128),
        Element("MixPE", "mixpe_w4a16", "int4-g128", "int4-g128", 128, 128),
        Element("LUT", "lut_fp16", "int4-g128", "int4-g128", 32, 16),
        # It has no pair of INT4.
        Element("BitMoD", "bitmod", "bitmod4-g128", "int8-g128", 128, 64),
    )
}


class Matrices(NamedTuple):
    """So many matrices of outputs x inputs, and their format."""

    outputs: int
    inputs: int
    many: int
    form: str

    @property
    def bytes(self) -> float:
        """Bytes of all of them, with scales."""
        return float(self.outputs * self.inputs * self.many * get(self.form).bits_per_value / 8)


class Work(NamedTuple):
    """Products that are done one after the other, all with so many vectors a matrix."""

    name: str
    matrices: tuple[Matrices, ...]
    vectors: int


def layer(element: Element, batch: int) -> Work:
    """Return QKVO and FFN of one layer; the inputs of Q, K and V are one, as of gate and up."""
    model = load_model(MODEL)
    heads = model.heads + 2 * model.kv_heads
    shapes = (
        (heads * model.head_dim, model.hidden),
        (model.hidden, model.heads * model.head_dim),
        (2 * model.ffn, model.hidden),
        (model.hidden, model.ffn),
    )
    return Work("layer", tuple(Matrices(*each, 1, element.weights) for each in shapes), batch)


def square(element: Element, batch: int) -> Work:
    """Return the output projection alone."""
    whole = layer(element, batch)
    return Work("square", whole.matrices[1:2], batch)


def attention(element: Element, group: int) -> Work:
    """Return keys and values of one layer, of all requests, with a group of queries each."""
    model = load_model(MODEL)
    many = REQUESTS * model.heads // group
    shapes = ((CONTEXT, model.head_dim), (model.head_dim, CONTEXT))
    return Work("attention", tuple(Matrices(*each, many, element.kv) for each in shapes), group)
