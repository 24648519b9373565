"""`Part`, the base of every schema, and the quantity types that its attributes are made of.

A schema names its unit in the attribute and the short YAML key in an alias::

    class Memory(Part):
        capacity_bytes: Bytes = Field(alias="capacity")

Attributes hold numbers in the base unit; YAML holds text with a unit. A validator of a schema
raises `ValueError`; the messages that users read are made in `problems`.
"""

from typing import TYPE_CHECKING, Annotated, Any, NoReturn

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    ValidationError,
    ValidationInfo,
)

from simulator.config.problems import describe
from simulator.errors import InputError
from simulator.units import dimension_named, format_quantity, parse_quantity

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass
else:
    ModelMetaclass = type(BaseModel)

#: Validation context of a file: there, a number without a unit is refused.
UNITS_REQUIRED = {"units_required": True}
#: Key of that context: the folder of the file, from which it names others.
FOLDER = "folder"


class PartMeta(ModelMetaclass):
    """Turns pydantic's error of a direct construction into an `InputError`, one line a problem."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Construct and validate; raise `InputError` that starts each line with the class name."""
        try:
            return super().__call__(*args, **kwargs)
        except ValidationError as error:
            raise InputError(describe(error, self, self.__name__)) from error


class FrozenDict(dict[str, Any]):
    """A mapping that refuses changes, so that a frozen part is frozen throughout."""

    def _refuse(self, *_arguments: Any, **_named: Any) -> NoReturn:
        raise TypeError("a part is frozen; config.replace returns a changed copy")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __hash__(self) -> int:  # type: ignore[override]
        """Hash as equal mappings do, whatever their order: parts are keys of what is remembered."""
        return hash(frozenset(self.items()))

    def __reduce__(self) -> tuple[type, tuple[dict[str, Any]]]:
        """Copy and send to other processes as a plain dict is."""
        return FrozenDict, (dict(self),)


class Part(BaseModel, metaclass=PartMeta):
    """A frozen, strictly checked description: no unknown keys, no silent conversion, no NaN."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        populate_by_name=True,
        strict=True,
        allow_inf_nan=False,
        protected_namespaces=(),
    )

    def model_post_init(self, _context: Any) -> None:
        """Freeze the mappings too."""
        for name, value in self.__dict__.items():
            if type(value) is dict:
                self.__dict__[name] = FrozenDict(value)


class _Quantity:
    """The validator and serialiser of one dimension, with its lower bound."""

    def __init__(self, dimension: str, *, zero: bool) -> None:
        self.dimension = dimension
        self.zero = zero
        self._known = dimension_named(dimension)

    def read(self, value: object, info: ValidationInfo) -> int | float:
        """Take text with a unit or, outside files, a number of base units."""
        if isinstance(value, str):
            number = parse_quantity(value, self.dimension)
        elif isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(
                f"expected a quantity such as '20 {self._known.example}', got {value!r}"
            )
        elif info.context and info.context.get("units_required"):
            raise ValueError(
                f"'{value}' has no unit; write for example '{value} {self._known.example}'"
            )
        else:
            number = self._bare(value)
        if number < 0 or (number == 0 and not self.zero):
            bound = "must not be negative" if self.zero else "must be positive"
            raise ValueError(f"{bound}, got {value!r}")
        return number

    def _bare(self, value: int | float) -> int | float:
        known = self._known
        if not known.whole:
            return float(value)
        if not isinstance(value, int):
            raise ValueError(f"expected a whole number of {known.base}, got {value!r}")
        if value % known.multiple_of:
            raise ValueError(f"{value} is not a multiple of {known.multiple_of} {known.base}")
        return value

    def write(self, value: int | float) -> str:
        """Write the number with its unit."""
        return format_quantity(value, self.dimension)


def _annotations(dimension: str, *, zero: bool = False) -> tuple[Any, Any]:
    quantity = _Quantity(dimension, zero=zero)
    return (
        BeforeValidator(quantity.read),
        PlainSerializer(quantity.write, return_type=str, when_used="json"),
    )


Bytes = Annotated[int, *_annotations("bytes")]
NonNegativeBytes = Annotated[int, *_annotations("bytes", zero=True)]
BytesPerSecond = Annotated[int, *_annotations("bytes_per_s")]
Hertz = Annotated[int, *_annotations("hertz")]
Picoseconds = Annotated[int, *_annotations("picoseconds")]
NonNegativePicoseconds = Annotated[int, *_annotations("picoseconds", zero=True)]
Picojoules = Annotated[float, *_annotations("picojoules")]
NonNegativePicojoules = Annotated[float, *_annotations("picojoules", zero=True)]
SquareMillimetres = Annotated[float, *_annotations("square_millimetres")]
NonNegativeSquareMillimetres = Annotated[float, *_annotations("square_millimetres", zero=True)]
Watts = Annotated[float, *_annotations("watts")]
NonNegativeWatts = Annotated[float, *_annotations("watts", zero=True)]
