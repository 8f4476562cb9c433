"""What is profiled of a model: the columns of its signature, its answers, how sure it was and how long it took.

A plan is made once, from a reference sample or from the first rows of the log, and never changes: profiles are
comparable only along the same axes.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from itertools import chain
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic_core import to_json

from app.runtimes.schema import Column, ColumnType, Label, Signature, Task
from app.stats.axes import Axis, CategoryAxis, NumericAxis, category_axis, numeric_axis
from app.stats.labels import MOST_OF_REFERENCE
from app.stats.profile import Layout, Profile, merge, observe

MAX_TOKENS = 100_000  # of a reference: the words of a hundred thousand short texts say enough
_TOKEN = re.compile(r"\w+")
_LATENCIES_MS = np.geomspace(
    0.01, 60_000, 1000
)  # before anything was answered: four decades either side of a usual one
_CONFIDENCES = np.linspace(0, 1, 1001)


class Source(StrEnum):
    """Where the values of a profiled column come from."""

    INPUT = "input"
    TEXT_LENGTH = "text_length"
    TEXT_TOKENS = "text_tokens"
    TEXT_WORDS = "text_words"
    PREDICTION = "prediction"
    CONFIDENCE = "confidence"
    LATENCY = "latency_ms"


@dataclass(frozen=True)
class Watched:
    """One column of a plan; `place` is that of the input that it is made from."""

    name: str
    source: Source
    axis: Axis
    place: int = -1

    @property
    def is_input(self) -> bool:
        """Whether it tells of what was asked, not of the answer."""
        return self.place >= 0

    @property
    def is_compared(self) -> bool:
        """Whether it is held against a reference: how long an answer took goes with the load, and all rows of a call share it."""
        return self.source != Source.LATENCY


@dataclass(frozen=True, slots=True)
class Answered:
    """Rows with their answers, column by column; None stands for what nobody looked at.

    Attributes:
        inputs: each input's cells in signature order: numbers with NaN for null, or texts with None for null.
        predictions: one answer for each row, None where the model had none.
        confidences: as many, NaN where there is none.
        latencies_ms: as many.
    """

    inputs: Sequence[Any] | None = None
    predictions: Sequence[Any] | None = None
    confidences: NDArray[np.float64] | None = None
    latencies_ms: NDArray[np.float64] | None = None

    @property
    def count(self) -> int:
        """How many rows these are."""
        return len(self.inputs[0]) if self.inputs else len(self.predictions or ())

    def at(self, places: NDArray[np.intp]) -> "Answered":
        """The rows at some places."""
        return Answered(
            None if self.inputs is None else [_taken(column, places) for column in self.inputs],
            None if self.predictions is None else _taken(self.predictions, places),
            None if self.confidences is None else self.confidences[places],
            None if self.latencies_ms is None else self.latencies_ms[places],
        )


def _taken(column: Any, places: NDArray[np.intp]) -> Any:
    return column[places] if isinstance(column, np.ndarray) else [column[i] for i in places.tolist()]


@dataclass(frozen=True)
class Plan:
    """The columns that are profiled of one version."""

    columns: tuple[Watched, ...]

    @cached_property
    def layout(self) -> Layout:
        """Their axes."""
        return Layout(tuple(column.axis for column in self.columns))

    def values(self, rows: Answered) -> list[Any]:
        """What of some rows belongs into each column."""
        return [_values(column, rows) for column in self.columns]

    def profile(self, rows: Answered) -> Profile:
        """The profile of some rows."""
        return observe(self.layout, self.values(rows))

    def reference(self, *parts: Answered) -> Profile:
        """The profile of rows that windows will be held against, which tells more labels apart."""
        most = MOST_OF_REFERENCE
        profiles = [observe(self.layout, self.values(part), most_labels=most) for part in parts]
        return merge(profiles, most_labels=most)

    def to_json(self) -> list[dict[str, Any]]:
        """The form in which plans are stored; `from_json` reads it back."""
        return [
            {
                "name": each.name,
                "source": each.source.value,
                "place": each.place,
                "axis": _axis_to_json(each.axis),
            }
            for each in self.columns
        ]

    @classmethod
    def from_json(cls, stored: Sequence[dict[str, Any]]) -> Self:
        """The plan that was stored."""
        return cls(
            tuple(
                Watched(each["name"], Source(each["source"]), _axis_from_json(each["axis"]), each["place"])
                for each in stored
            )
        )


def columns_of(
    matrix: NDArray[np.float64] | None, values: Sequence[Sequence[Any]], kinds: Sequence[ColumnType]
) -> list[Any]:
    """The cells of some rows, column by column, from their matrix or, where there is none, from the rows."""
    if matrix is not None:
        return list(matrix.T)
    return [_column(cells, kind) for cells, kind in zip(zip(*values, strict=True), kinds, strict=True)]


def _column(cells: Sequence[Any], kind: ColumnType) -> Any:
    return cells if kind == ColumnType.STRING else _numbers(cells)


def make_plan(signature: Signature, rows: Answered) -> Plan:
    """The plan that a reference gives: its own quantiles and labels are the axes.

    Raises:
        ValueError: it holds no rows.
    """
    if not rows.inputs or not len(rows.inputs[0]):
        raise ValueError("a reference without rows gives no plan")
    inputs = map(_watch_input, signature.inputs, range(len(signature.inputs)), rows.inputs)
    return Plan((*chain.from_iterable(inputs), *_watch_answers(signature, rows)))


def _watch_input(column: Column, place: int, cells: Any) -> Iterator[Watched]:
    if column.type != ColumnType.STRING:
        yield Watched(column.name, Source.INPUT, _axis_of_numbers(cells), place)
    elif column.categories is not None:
        yield Watched(column.name, Source.INPUT, _axis_of_labels(cells), place)
    else:
        for source in (Source.TEXT_LENGTH, Source.TEXT_TOKENS):
            yield Watched(
                f"{column.name} ({source.value})", source, _axis_of_numbers(_of_text(source, cells)), place
            )
        words = list(chain.from_iterable(map(set, _words(cells))))[:MAX_TOKENS]
        yield Watched(
            f"{column.name} ({Source.TEXT_WORDS.value})", Source.TEXT_WORDS, _axis_of_labels(words), place
        )


def _watch_answers(signature: Signature, rows: Answered) -> Iterator[Watched]:
    answers = rows.predictions or ()
    if signature.task in (Task.CLASSIFICATION, Task.CLUSTERING, Task.ANOMALY):
        yield Watched("prediction", Source.PREDICTION, _axis_of_labels([*map(_label, answers)]))
    elif signature.task == Task.REGRESSION and not any(isinstance(answer, list) for answer in answers):
        yield Watched("prediction", Source.PREDICTION, _axis_of_numbers(_numbers(answers)))
    if signature.task == Task.CLASSIFICATION:
        yield Watched("confidence", Source.CONFIDENCE, _axis_of_confidences(rows.confidences))
    yield Watched("latency_ms", Source.LATENCY, numeric_axis(_LATENCIES_MS))


def _axis_of_numbers(cells: ArrayLike) -> NumericAxis:
    """The axis of a column; of one that holds no number, an axis on which any number is a surprise."""
    values = np.asarray(cells, np.float64)
    return numeric_axis(values if np.isfinite(values).any() else [0.0])


def _axis_of_confidences(known: NDArray[np.float64] | None) -> NumericAxis:
    return numeric_axis(_CONFIDENCES if known is None or not np.isfinite(known).any() else known)


def _axis_of_labels(cells: Sequence[str | None]) -> CategoryAxis:
    return category_axis(cell for cell in cells if cell is not None)


def _values(column: Watched, rows: Answered) -> Any:
    if column.source == Source.PREDICTION:
        return _predictions(column.axis, rows.predictions)
    if column.source == Source.CONFIDENCE:
        return rows.confidences
    if column.source == Source.LATENCY:
        return rows.latencies_ms
    if rows.inputs is None:
        return None
    cells = rows.inputs[column.place]
    return cells if column.source == Source.INPUT else _of_text(column.source, cells)


def _predictions(axis: Axis, answers: Sequence[Any] | None) -> Any:
    if answers is None:
        return None
    return list(map(_label, answers)) if isinstance(axis, CategoryAxis) else _numbers(answers)


def _of_text(source: Source, cells: Sequence[str | None]) -> Any:
    if source == Source.TEXT_WORDS:
        return list(chain.from_iterable(map(set, _words(cells))))
    if source == Source.TEXT_LENGTH:
        return np.array([np.nan if cell is None else len(cell) for cell in cells], np.float64)
    counts = zip(cells, _words(cells), strict=True)
    return np.array([np.nan if cell is None else len(words) for cell, words in counts], np.float64)


def _words(cells: Sequence[str | None]) -> Iterator[list[str]]:
    return (_TOKEN.findall((cell or "").lower()) for cell in cells)


def _label(prediction: Label | None) -> str | None:
    """A label as text: as it is, or as its JSON."""
    return prediction if prediction is None or isinstance(prediction, str) else to_json(prediction).decode()


def _numbers(values: Sequence[Any]) -> NDArray[np.float64]:
    return np.array([np.nan if value is None else value for value in values], np.float64)


def _axis_to_json(axis: Axis) -> dict[str, Any]:
    if isinstance(axis, CategoryAxis):
        return {"top": list(axis.top), "rest": sorted(axis.rest), "singles": axis.singles}
    return {
        "edges": axis.edges.tolist(), "centre": axis.centre, "scale": axis.scale, "low": axis.low, "high": axis.high,
        "deciles": axis.deciles.tolist(), "tails": list(axis.tails),
    }  # fmt: skip


def _axis_from_json(stored: dict[str, Any]) -> Axis:
    if "top" in stored:
        return CategoryAxis(tuple(stored["top"]), frozenset(stored["rest"]), stored["singles"])
    low, high = stored["tails"]
    deciles = np.array(stored["deciles"], np.intp)
    numbers = {name: stored[name] for name in ("centre", "scale", "low", "high")}
    return NumericAxis(np.array(stored["edges"]), deciles=deciles, tails=(low, high), **numbers)
