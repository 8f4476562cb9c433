"""What may be a true answer, when feedback comes too late or too early, and what is hidden from whom. Pure."""

import json
import math
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from app.core.ids import is_time_ordered, time_of

MASK = "•••"
EARLIEST_OBSERVATION = datetime(1970, 1, 1, tzinfo=UTC)
CLOCK_TOLERANCE = timedelta(minutes=1)
SHOWN_CLASSES, SHOWN_CHARACTERS = 20, 60
_LARGEST_FLOAT = 1.7976931348623157e308  # IEEE 754-2019, table 3.5
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")  # OWASP, "CSV Injection"

Label = str | int | float | bool


class ReferenceKind(StrEnum):
    """What a version's rows are held against."""

    SAMPLE = "sample"  # that it was registered with
    FIRST_ROWS = "first_rows"  # that it was asked, where it was registered without


@dataclass(frozen=True)
class Target:
    """What the true answers of a model look like.

    Attributes:
        classes: every label that one of its versions knows; None when the answers are no classes.
        output: the type of the answers, as a signature names it; None when no version says it.
        meaning: what the classes stand for, where they don't say it themselves.
    """

    classes: tuple[Label, ...] | None = None
    output: str | None = None
    meaning: str = field(default="", repr=False)


DETECTED = Target((-1, 1), "integer", "-1 is an anomaly, 1 is none, as the detector answers")
"""What may be true of a row that an outlier detector was asked for, as scikit-learn has it."""


def read_actual(actual: Any, target: Target) -> tuple[Label | None, str]:
    """The true answer as it is stored, and what is wrong with it ("" when nothing is).

    >>> read_actual(1.0, Target(classes=(0, 1)))
    (1, '')
    >>> read_actual("maybe", Target(classes=("yes", "no")))
    (None, 'actual: "maybe" is none of the classes "yes", "no"')
    >>> read_actual("12", Target(output="float"))
    (None, 'actual: must be a number, not "12"')
    """
    if not isinstance(actual, str | int | float | bool):
        return None, f"actual: must be one value, not {_shown(actual)}"
    if target.classes is not None:
        label, problem = _read_class(actual, target.classes)
        return label, f"{problem}: {target.meaning}" if problem and target.meaning else problem
    wanted = _WANTED.get(target.output or "")
    if wanted is not None and _kind(actual) != wanted:
        return None, f"actual: must be {wanted}, not {_shown(actual)}"
    return (actual, "") if _is_storable(actual) else (None, f"actual: {_shown(actual)} can't be stored")


def _read_class(actual: Label, classes: tuple[Label, ...]) -> tuple[Label | None, str]:
    for label in classes:
        if label == actual and _kind(label) == _kind(actual):
            return label, ""
    known = ", ".join(map(_shown, classes[:SHOWN_CLASSES]))
    more = f" and {len(classes) - SHOWN_CLASSES} more" if len(classes) > SHOWN_CLASSES else ""
    return None, f"actual: {_shown(actual)} is none of the classes {known}{more}"


_WANTED = {"float": "a number", "integer": "a number", "boolean": "true or false", "string": "text"}


def _kind(value: Label) -> str:
    if isinstance(value, bool):
        return "true or false"
    return "text" if isinstance(value, str) else "a number"


def _is_storable(value: Label) -> bool:
    if isinstance(value, str):
        return "\0" not in value
    return math.isfinite(value) if isinstance(value, float) else abs(value) <= _LARGEST_FLOAT


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"


def time_in(prediction_id: UUID) -> datetime | None:
    """When a prediction was made, by its id; None when no prediction can have such an id.

    >>> time_in(UUID("00000000-0000-4000-8000-000000000000")) is None
    True
    """
    try:
        return time_of(prediction_id) if is_time_ordered(prediction_id) else None
    except (ValueError, OverflowError):  # beyond the year 9999
        return None


def problem_with_age(made_at: datetime | None, now: datetime, keep_days: int) -> str:
    """Why there can be no prediction that was made then, "" when there can."""
    if made_at is None:
        return "prediction_id: not one that this service made"
    if made_at > now + CLOCK_TOLERANCE:
        return "prediction_id: its time lies in the future"
    if made_at < now - timedelta(days=keep_days):
        return f"prediction_id: older than the {keep_days} days that the log keeps"
    return ""


def problem_with_time(observed_at: datetime | None, now: datetime) -> str:
    """Why nothing can have been observed then, "" when it can."""
    if observed_at is None or EARLIEST_OBSERVATION <= observed_at <= now + CLOCK_TOLERANCE:
        return ""
    return "observed_at: must lie between 1970 and now"


def name_features(
    names: Sequence[str], cells: Sequence[Any] | None, sensitive: AbstractSet[str]
) -> dict[str, Any] | None:
    """A row's cells by column, the sensitive ones hidden.

    >>> name_features(["age", "income"], [41, 5.0], {"age"})
    {'age': '•••', 'income': 5.0}
    """
    if cells is None:
        return None
    named = zip(names, cells, strict=True)
    return {name: MASK if name in sensitive else cell for name, cell in named}


def mask_error(error: Any, sensitive: AbstractSet[str]) -> Any:
    """Why a row has no answer, without the values of sensitive columns that this may repeat.

    An error is a list of what is wrong with each column, or whatever the model itself had to say.

    >>> mask_error([{"column": "age", "problem": "is null", "got": "-1"}], {"age"})
    [{'column': 'age', 'problem': 'is null', 'got': '•••'}]
    >>> mask_error("could not convert '41'", {"age"})
    '•••'
    """
    if error is None or not sensitive:
        return error
    if not isinstance(error, list):
        return MASK
    hidden = sensitive | {None}  # no column: the row itself is wrong, and may be shown
    return [{**column, "got": MASK} if column.get("column") in hidden else column for column in error]


def defuse(text: str) -> str:
    """A text that no spreadsheet takes for a formula.

    >>> defuse("=1+1"), defuse("fine")
    ("'=1+1", 'fine')
    """
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


def merge_targets(signatures: Iterable[tuple[list[Label] | None, str | None]]) -> Target:
    """What counts as a true answer of a model whose versions have these classes and outputs, newest first.

    A label that only a newer version knows can be true of an older version's prediction, too.

    >>> merge_targets([(["a", "b", "c"], "string"), (["b", "a"], "string")])
    Target(classes=('a', 'b', 'c'), output='string')
    """
    told = list(signatures)
    outputs = {output for _, output in told}
    classes = {(_kind(label), label): label for labels, _ in told for label in labels or ()}
    if not told or any(labels is None for labels, _ in told):
        return Target(None, outputs.pop() if len(outputs) == 1 else None)
    return Target(tuple(classes.values()), told[0][1])


def export_type(types: Iterable[str]) -> str:
    """The one type that holds the values of all of these types, by their names in signatures.

    >>> export_type(["integer", "integer"]), export_type(["integer", "float"]), export_type(["float", "string"])
    ('integer', 'float', 'string')
    """
    found = set(types)
    if len(found) == 1:
        return found.pop()
    return "float" if found == {"integer", "float"} else "string"


def label_type(classes: Sequence[Label] | None, output: str) -> str:
    """The type of a model's answers: that of its classes, if it has any.

    >>> label_type([0, 1], "float"), label_type(None, "integer"), label_type(["a", 1], "string")
    ('integer', 'float', 'string')
    """
    if classes:
        return export_type(_TYPE_NAMES[type(label)] for label in classes)
    return "float" if output == "integer" else output


_TYPE_NAMES = {bool: "boolean", int: "integer", float: "float", str: "string"}
