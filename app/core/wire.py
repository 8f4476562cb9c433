"""What travels as JSON: the base of all request and answer shapes, and text that the database can keep."""

import math
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError
from pydantic_core.core_schema import ErrorType
from starlette.responses import Response


class Incoming(BaseModel):
    """A request's shape: an unknown field is an error, because it is most often a misspelt one."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)

    @model_validator(mode="wrap")
    @classmethod
    def _say_what_is_known(cls, given: Any, read: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return read(given)
        except ValidationError as error:
            faults = [_reworded(fault, cls.model_fields) for fault in error.errors(include_url=False)]
            raise ValidationError.from_exception_data(cls.__name__, faults, hide_input=True) from None


def _reworded(fault: ErrorDetails, known: Iterable[str]) -> InitErrorDetails:
    """The same fault; a field that a shape does not have is told with those that it has, the most alike first."""
    kind: str | PydanticCustomError = fault["type"]
    if kind == "extra_forbidden" and len(fault["loc"]) == 1:
        kind = PydanticCustomError("unknown_field", say_what_is_known(str(fault["loc"][0]), known))
    elif kind not in _KINDS:
        kind = PydanticCustomError(fault["type"], fault["msg"])
    return InitErrorDetails(type=kind, loc=fault["loc"], input=fault["input"], ctx=fault.get("ctx", {}))


_KINDS = frozenset(get_args(ErrorType))


def say_what_is_known(name: str, known: Iterable[str]) -> str:
    """That a name is not known, and those that are, the most alike first.

    >>> say_what_is_known("stat", ["model", "state"]), say_what_is_known("stat", [])
    ('is not known here; known are state, model', 'is not known here; nothing is')
    """
    alike = get_close_matches(name, known, n=1)
    names = ", ".join([*alike, *sorted(set(known) - set(alike))])
    return f"is not known here; known are {names}" if names else "is not known here; nothing is"


class Outgoing(BaseModel):
    """An answer's shape, filled from rows or values."""

    model_config = ConfigDict(from_attributes=True, ser_json_inf_nan="null", protected_namespaces=())


def json_answer(text: str, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """JSON that the database has finished, as it leaves."""
    return Response(text, status, headers, "application/json")


def storable(text: str) -> str:
    """The text itself, if Postgres can keep it.

    Raises:
        ValueError: it holds a NUL character or half of a surrogate pair.
    """
    if "\0" in text:
        raise ValueError("holds a NUL character, which can't be stored")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("holds half of a surrogate pair, which is no character") from None
    return text


def storable_throughout(value: Any) -> Any:
    """A JSON value of which every text, keys included, and every number can be kept.

    Raises:
        ValueError: some text or number can't.
    """
    if isinstance(value, str):
        storable(value)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("holds NaN, Infinity or a number beyond 1.8e308, which JSON does not have")
    elif isinstance(value, dict):
        for key, item in value.items():
            storable(key)
            storable_throughout(item)
    elif isinstance(value, list):
        for item in value:
            storable_throughout(item)
    return value


Line = Annotated[str, Field(max_length=500), AfterValidator(storable)]
Prose = Annotated[str, Field(max_length=100_000), AfterValidator(storable)]
Value = Annotated[Any, AfterValidator(storable_throughout)]
Json = Annotated[dict[str, Any], AfterValidator(storable_throughout)]
Tags = Annotated[
    dict[Annotated[str, Field(min_length=1, max_length=250)], Prose],
    AfterValidator(storable_throughout),
    Field(max_length=200),
]
Reason = Annotated[str, Field(max_length=2000), AfterValidator(storable)]


def said_of(fault: Mapping[str, object]) -> str:
    """What is wrong in one of pydantic's faults; where a validator of ours says it, in its words alone."""
    if fault["type"] == "model_attributes_type":
        is_raw = isinstance(fault.get("input"), bytes)  # FastAPI leaves what does not come as JSON as it is
        return (
            "must come as JSON, with `Content-Type: application/json`" if is_raw else "must be a JSON object"
        )
    return str(fault["msg"]).removeprefix("Value error, ")
