"""How a door writes a predict request: where its options stand in the body, and where its rows."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic_core import from_json

from app.core.errors import FieldProblem, MalformedJson
from app.runtimes.rows import Rows, parse_rows
from app.runtimes.schema import Signature, is_plain_text

DEFAULT_ENVIRONMENT = "production"
MAX_OPTION_LENGTH = 256


@dataclass(frozen=True, slots=True)
class Envelope:
    """What a predict request says beside its rows."""

    entity_id: str | None = None
    request_id: str | None = None
    environment: str = DEFAULT_ENVIRONMENT
    arm: str | None = None


class ReadRows(Protocol):
    """Takes the rows out of a decoded body and checks them."""

    def __call__(self, payload: Any, signature: Signature, *, max_rows: int) -> Rows:
        """The rows, good and bad."""


@dataclass(frozen=True)
class Dialect:
    """Three functions of a module, so that a child process finds them by name."""

    decode: Callable[[bytes], Any]
    read_envelope: Callable[[Any], Envelope]
    read_rows: ReadRows


def decode_json(body: bytes) -> Any:
    """The value of a JSON text.

    Raises:
        MalformedJson: it is none, or holds NaN, Infinity, or half of a surrogate pair.
    """
    try:
        return from_json(body, allow_inf_nan=False, cache_strings="keys")
    except ValueError as error:
        raise MalformedJson(str(error)) from None


def read_envelope(payload: Any) -> Envelope:
    """The options of a body as `POST /api/models/{model_id}/predict` takes it.

    Raises:
        FieldProblem: an option is not text of a storable kind.
    """
    if not isinstance(payload, dict) or payload.keys().isdisjoint(_OPTIONS):
        return _PLAIN
    return Envelope(**{name: read_option(name, payload[name]) for name in _OPTIONS & payload.keys()})


def read_option(name: str, value: Any) -> str:
    """An option as text that can be stored.

    Raises:
        FieldProblem: it is something else.
    """
    if isinstance(value, int) and not isinstance(value, bool) and name == "entity_id":
        value = str(value)  # the keys of many data sets are numbers
    if not isinstance(value, str) or not 0 < len(value) <= MAX_OPTION_LENGTH or not is_plain_text(value):
        raise FieldProblem(name, f"must be text of 1 to {MAX_OPTION_LENGTH} characters")
    return value


_OPTIONS = frozenset({"entity_id", "request_id", "environment", "arm"})
_PLAIN = Envelope()

NATIVE = Dialect(decode_json, read_envelope, parse_rows)
