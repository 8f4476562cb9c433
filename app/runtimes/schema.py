"""What a model takes and gives: columns with their types, the task and the classes."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property, partial
from operator import itemgetter
from types import NoneType
from typing import Any, TypeVar

from app.runtimes.errors import BadSignature

Label = str | int | float | bool
_Choice = TypeVar("_Choice", bound=StrEnum)

MAX_COLUMNS = 20_000
MAX_NAME_LENGTH = 512


class ColumnType(StrEnum):
    """The types that JSON, Postgres and every model format agree on."""

    FLOAT = "float"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    STRING = "string"


_CELL_TYPES: dict[ColumnType, frozenset[type]] = {
    ColumnType.FLOAT: frozenset({float, int}),
    ColumnType.INTEGER: frozenset({int}),
    ColumnType.BOOLEAN: frozenset({bool}),
    ColumnType.STRING: frozenset({str}),
}


def _pick_one(name: str, row: Any) -> tuple[Any]:
    return (row[name],)


class Task(StrEnum):
    """What the answer of a model means."""

    CLASSIFICATION = "classification"
    REGRESSION = "regression"
    ANOMALY = "anomaly"
    CLUSTERING = "clustering"
    TRANSFORM = "transform"


@dataclass(frozen=True)
class Column:
    """One input of a model, with what its reference sample showed."""

    name: str
    type: ColumnType
    nullable: bool = False
    categories: tuple[str, ...] | None = None
    minimum: float | None = None
    maximum: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Only what is known: absent members mean unknown, not null."""
        known = {"name": self.name, "type": self.type.value, "nullable": self.nullable}
        optional = {"categories": self.categories and list(self.categories), "minimum": self.minimum}
        return known | {k: v for k, v in (optional | {"maximum": self.maximum}).items() if v is not None}


@dataclass(frozen=True)
class Signature:
    """What a model takes, in order, and what it gives."""

    inputs: tuple[Column, ...]
    task: Task
    output: ColumnType = ColumnType.FLOAT
    classes: tuple[Label, ...] | None = None

    @property
    def is_detector(self) -> bool:
        """Whether the answers are -1 for an anomaly and 1 for none, as outlier detectors of scikit-learn have it."""
        return self.task == Task.ANOMALY and self.output == ColumnType.INTEGER

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The input columns in the order that the model wants."""
        return tuple(column.name for column in self.inputs)

    @cached_property
    def types(self) -> tuple[ColumnType, ...]:
        """The types of the input columns."""
        return tuple(column.type for column in self.inputs)

    def names_of(self, kind: ColumnType) -> tuple[str, ...]:
        """The input columns of one type."""
        return tuple(column.name for column in self.inputs if column.type == kind)

    @cached_property
    def pick(self) -> Callable[[Any], tuple[Any, ...]]:
        """Takes the model's columns, in order, out of one row that names them."""
        return itemgetter(*self.names) if len(self.names) > 1 else partial(_pick_one, self.names[0])

    @cached_property
    def cell_types(self) -> tuple[frozenset[type], ...]:
        """For each column the Python types whose every finite value it takes as it stands."""
        return tuple(_CELL_TYPES[c.type] | ({NoneType} if c.nullable else set()) for c in self.inputs)

    @cached_property
    def common_types(self) -> frozenset[type]:
        """The Python types that every column takes."""
        return frozenset.intersection(*self.cell_types)

    @cached_property
    def vocabularies(self) -> tuple[frozenset[str] | None, ...]:
        """For each column the text values that its reference sample held, where that is known."""
        return tuple(None if c.categories is None else frozenset(c.categories) for c in self.inputs)

    @cached_property
    def is_numeric(self) -> bool:
        """Whether every input fits a float64 matrix."""
        return all(column.type != ColumnType.STRING for column in self.inputs)

    def to_json(self) -> dict[str, Any]:
        """The form in which signatures are stored and answered; `from_json` reads it back equal."""
        body: dict[str, Any] = {
            "inputs": [column.to_json() for column in self.inputs],
            "task": self.task.value,
        }
        body["output"] = self.output.value
        return body if self.classes is None else body | {"classes": list(self.classes)}

    @classmethod
    def from_json(cls, body: Any) -> "Signature":
        """The signature that a caller or the store wrote down.

        Raises:
            BadSignature: with one problem for each wrong field.
        """
        reader = _Reader()
        signature = reader.signature(body)
        if signature is None or reader.problems:
            raise BadSignature(reader.problems)
        return signature


def tensor_columns(count: int, *, nullable: bool = False) -> tuple[Column, ...]:
    """The columns x0 … xN of a model that was trained on an array without names.

    >>> [column.name for column in tensor_columns(2)]
    ['x0', 'x1']
    """
    return tuple(Column(f"x{i}", ColumnType.FLOAT, nullable) for i in range(count))


def breaks(old: Signature, new: Signature) -> list[str]:
    """Why callers of `old` can't go on with `new`; empty when they can.

    A dropped column is no break (callers who name their columns may still send it), while a moved one is: rows sent
    as lists would silently mean something else.
    """
    return [*_broken_inputs(old, new), *_broken_outputs(old, new)]


def _broken_inputs(old: Signature, new: Signature) -> list[str]:
    before = {column.name: column for column in old.inputs}
    reasons = []
    for column in new.inputs:
        known = before.get(column.name)
        if known is None:
            reasons.append(f"column {column.name} is new and required")
        elif column.type not in (known.type, _WIDENS_TO.get(known.type)):
            reasons.append(f"column {column.name} was {known.type}, now {column.type}")
        elif known.nullable and not column.nullable:
            reasons.append(f"column {column.name} no longer takes nulls")
    kept = [name for name in old.names if name in new.names]
    if kept != [name for name in new.names if name in before]:
        reasons.append("the order of the columns changed")
    return reasons


def _broken_outputs(old: Signature, new: Signature) -> list[str]:
    pairs = (
        ("task", old.task, new.task),
        ("output", old.output, new.output),
        ("classes", old.classes, new.classes),
    )
    return [f"{part} changed" for part, was, now in pairs if was != now]


_WIDENS_TO = {ColumnType.INTEGER: ColumnType.FLOAT}


def is_plain_text(text: str) -> bool:
    r"""Whether text can be stored: Postgres takes neither NUL nor lone surrogates.

    >>> is_plain_text("naïve"), is_plain_text("a\0b"), is_plain_text("\ud800")
    (True, False, False)
    """
    if text.isascii():
        return "\0" not in text
    return "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


class _Reader:
    """Reads a signature's JSON and collects a problem for each wrong field instead of stopping at the first."""

    def __init__(self) -> None:
        self.problems: dict[str, str] = {}

    def signature(self, body: Any) -> Signature | None:
        if not isinstance(body, dict):
            self.problems["signature"] = "must be an object"
            return None
        self._only(body, "signature", {"inputs", "task", "output", "classes"})
        inputs = self._inputs(body.get("inputs"))
        task = self._enum(Task, body.get("task"), "task")
        output = self._enum(ColumnType, body.get("output", "float"), "output")
        classes = self._classes(body.get("classes"))
        if self.problems or task is None or output is None:
            return None
        return Signature(inputs, task, output, classes)

    def _only(self, body: dict[str, Any], where: str, known: set[str]) -> None:
        for key in body.keys() - known:
            self.problems[f"{where}.{key}"] = f"unknown; known are {', '.join(sorted(known))}"

    def _inputs(self, items: Any) -> tuple[Column, ...]:
        if not isinstance(items, list) or not 1 <= len(items) <= MAX_COLUMNS:
            self.problems["inputs"] = f"must be a list of 1 to {MAX_COLUMNS} columns"
            return ()
        columns = [column for i, item in enumerate(items) if (column := self._column(item, f"inputs[{i}]"))]
        seen: set[str] = set()
        for i, column in enumerate(columns):
            if column.name in seen:
                self.problems[f"inputs[{i}].name"] = f"{column.name!r} is there twice"
            seen.add(column.name)
        return tuple(columns)

    def _column(self, item: Any, where: str) -> Column | None:
        if not isinstance(item, dict):
            self.problems[where] = "must be an object"
            return None
        self._only(item, where, {"name", "type", "nullable", "categories", "minimum", "maximum"})
        name = self._name(item.get("name"), f"{where}.name")
        kind = self._enum(ColumnType, item.get("type"), f"{where}.type")
        nullable = item.get("nullable", False)
        if not isinstance(nullable, bool):
            self.problems[f"{where}.nullable"] = "must be true or false"
        categories = self._categories(item.get("categories"), f"{where}.categories")
        bounds = [self._number(item.get(end), f"{where}.{end}") for end in ("minimum", "maximum")]
        if kind is None or name is None:
            return None
        return Column(name, kind, nullable, categories, *bounds)

    def _name(self, name: Any, where: str) -> str | None:
        if isinstance(name, str) and 0 < len(name) <= MAX_NAME_LENGTH and is_plain_text(name):
            return name
        self.problems[where] = f"must be text of 1 to {MAX_NAME_LENGTH} characters"
        return None

    def _enum(self, kind: type[_Choice], value: Any, where: str) -> _Choice | None:
        try:
            return kind(value)
        except ValueError:
            self.problems[where] = f"must be one of {', '.join(kind)}"
            return None

    def _categories(self, items: Any, where: str) -> tuple[str, ...] | None:
        if items is None:
            return None
        if isinstance(items, list) and all(isinstance(item, str) and is_plain_text(item) for item in items):
            return tuple(items)
        self.problems[where] = "must be a list of text"
        return None

    def _number(self, value: Any, where: str) -> float | None:
        if value is None:
            return None
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST_FLOAT:
            return value
        self.problems[where] = "must be a finite number"
        return None

    def _classes(self, items: Any) -> tuple[Label, ...] | None:
        if items is None:
            return None
        if isinstance(items, list) and items and all(map(_is_label, items)) and len(set(items)) == len(items):
            return tuple(items)
        self.problems["classes"] = "must be a list of different labels (text, numbers or booleans)"
        return None


def _is_label(item: Any) -> bool:
    if isinstance(item, str):
        return is_plain_text(item)
    return isinstance(item, bool | int) or (isinstance(item, float) and abs(item) <= _LARGEST_FLOAT)


_LARGEST_FLOAT = 1.7976931348623157e308  # the largest finite float64 (IEEE 754-2019, table 3.5)
