"""Energy profiles: what each action costs in one technology, every constant with its source.

A profile is a part of its own (hw_configs/parts/technology), so that one device can be priced by
several. A constant may carry the range in which published figures lie; `assumed:` at the start of a
source says that no publication gives it. Left out: voltage and temperature, data-dependent
switching (energy per action does not depend on the operands' values).
"""

import re
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import AfterValidator, Field, field_validator, model_validator

from simulator.config import Part, did_you_mean, load_part
from simulator.errors import InputError

PROFILE_FOLDER = "hw_configs/parts/technology"

#: Element operations of the vector unit that a profile may price; the rest take `default`.
VECTOR_FUNCTIONS = (
    "add",
    "mul",
    "max",
    "exp",
    "rsqrt",
    "div",
    "tanh",
    "copy",
    "convert",
    "compare",
)

Bound: TypeAlias = Literal["low", "nominal", "high"]


def _not_empty(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    return text


NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Source = Annotated[str, AfterValidator(_not_empty)]

_FLOAT_VARIANT = re.compile(r"(fp\d+)_e\d+m\d+(?:fnuz|fn)?")
_MIB = 2**20


class Constant(Part):
    """One number with its source and, where figures differ, the range they lie in.

    The unit is in the name of the field that holds the constant. `low` and `high` default to
    `nominal`; low <= nominal <= high.
    """

    nominal: NonNegative
    low: NonNegative | None = None
    high: NonNegative | None = None
    source: Source

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.at("low") <= self.nominal <= self.at("high"):
            raise ValueError(
                f"needs low <= nominal <= high, got {self.at('low')!r}, {self.nominal!r}, "
                f"{self.at('high')!r}"
            )
        return self

    def at(self, bound: Bound) -> float:
        """Return the value at one end of the range, or the nominal value."""
        match bound:
            case "nominal":
                return self.nominal
            case "low":
                return self.nominal if self.low is None else self.low
            case "high":
                return self.nominal if self.high is None else self.high
            case _:
                raise InputError(f"unknown bound '{bound}'; known: low, nominal, high")


class FractionConstant(Constant):
    """A constant between 0 and 1."""

    nominal: Share
    low: Share | None = None
    high: Share | None = None


class Areas(Part):
    """Silicon area: per processing element, MiB of scratchpad and vector lane, and the rest.

    Only leakage depends on it. A device that states its die area does not use this table.
    """

    pe_mm2: Constant
    scratchpad_mm2_per_mib: Constant
    vector_lane_mm2: Constant
    fixed_mm2: Constant

    def parts_mm2(
        self, *, pes: int, scratchpad_bytes: int, lanes: int, bound: Bound = "nominal"
    ) -> dict[str, float]:
        """Return the area in mm2 of the elements, the scratchpad, the lanes, and the rest."""
        return {
            "matrix": pes * self.pe_mm2.at(bound),
            "scratchpad": scratchpad_bytes / _MIB * self.scratchpad_mm2_per_mib.at(bound),
            "vector": lanes * self.vector_lane_mm2.at(bound),
            "rest": self.fixed_mm2.at(bound),
        }


class EnergyProfile(Part):
    """Energy per action in one technology.

    mac_constants: pJ per MAC of an operand pair "WEIGHTxACTIVATION" of format bases, accumulation
    included. mac_gates: a technology (`load_technology`) in whose gates all other pairs are
    counted, and the area of the elements (`hardware.priced.priced_for`). vector_constants: pJ per
    element operation, `default` for functions not listed.
    array_register_pj_per_bit: per bit that moves from one PE to its neighbour.
    scratchpad_sram: a table of SRAM macros (`sram.load_sram`) that prices the scratchpad of the
    device simulated, by its capacity and ports, in place of the constants here
    (`hardware.priced.priced_for`).
    stalled_fraction, idle_fraction: part of a unit's active power that it burns while it waits in
    the middle of an op, and while it has none.
    """

    name: str
    summary: str
    technology_nm: Annotated[float, Field(gt=0)]
    source: Source
    mac_constants: dict[str, Constant] = Field(alias="mac_pj", default_factory=dict)
    mac_gates: str | None = None
    vector_constants: dict[str, Constant] = Field(alias="vector_pj")
    scratchpad_sram: str | None = None
    scratchpad_read_pj_per_bit: Constant
    scratchpad_write_pj_per_bit: Constant
    accumulator_read_pj_per_bit: Constant
    accumulator_write_pj_per_bit: Constant
    array_register_pj_per_bit: Constant
    dram_read_pj_per_bit: Constant
    dram_write_pj_per_bit: Constant
    noc_pj_per_bit_hop: Constant
    leakage_w_per_mm2: Constant
    dram_background_w_per_gib: Constant
    stalled_fraction: FractionConstant
    idle_fraction: FractionConstant
    areas: Areas

    @model_validator(mode="after")
    def _prices_something(self) -> Self:
        if not self.mac_constants and self.mac_gates is None:
            raise ValueError("needs mac_pj or mac_gates")
        return self

    @field_validator("vector_constants")
    @classmethod
    def _known_functions(cls, constants: dict[str, Constant]) -> dict[str, Constant]:
        if "default" not in constants:
            raise ValueError("needs an entry 'default'")
        for name in constants:
            if name not in ("default", *VECTOR_FUNCTIONS):
                near = did_you_mean(name, VECTOR_FUNCTIONS)
                raise ValueError(f"unknown function '{name}'{near}")
        return constants

    def mac_pj(self, pair: str, bound: Bound = "nominal") -> float:
        """Return the energy in pJ of one MAC of `pair` ("WEIGHTxACTIVATION", format bases).

        A small float is looked up by its full name, then by its width: `fp8_e4m3fn`, then `fp8`.
        Raises InputError where the profile does not price the pair: nothing is guessed.
        """
        constant = self.mac_constants.get(pair) or self.mac_constants.get(
            _FLOAT_VARIANT.sub(r"\1", pair)
        )
        if constant is None:
            raise InputError(
                f"energy profile '{self.name}' has no MAC energy for {pair}; "
                f"it has: {', '.join(self.mac_constants) or 'none'}"
            )
        return constant.at(bound)

    def vector_pj(self, function: str, bound: Bound = "nominal") -> float:
        """Return the energy in pJ of one element operation; unknown functions are refused."""
        if function not in VECTOR_FUNCTIONS:
            raise InputError(
                f"unknown vector function '{function}'{did_you_mean(function, VECTOR_FUNCTIONS)}"
            )
        return self.vector_constants.get(function, self.vector_constants["default"]).at(bound)


def load_profile(name_or_path: str) -> EnergyProfile:
    """Load a profile by name from `hw_configs/parts/technology`, or from a YAML file.

    Raises InputError with every problem of the file.
    """
    return load_part(EnergyProfile, name_or_path, PROFILE_FOLDER, noun="energy profile")
