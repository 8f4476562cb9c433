"""What a loaded model says of itself, whatever its format, and how it becomes one that answers rows."""

import re
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from app.runtimes.schema import Column, ColumnType, Label, Signature, Task, is_plain_text
from app.runtimes.scores import Model

MAX_MESSAGE = 300
_DIRECTORIES = re.compile(r"(?:/[^\s/:'\"]+)+/")
MAX_REPR = 200  # characters of a hyper-parameter that is neither number nor text


@dataclass(frozen=True)
class Traits:
    """What a model file tells without any data.

    Attributes:
        framework: the library that made it.
        algorithm: the name of its final estimator, objective or operator.
        columns: its inputs as far as it knows them; None when not even their number is known.
        has_names: whether the names of `columns` are the model's own.
        tells_types: whether their types are the model's own too, not what most models of its kind take.
        task: what its answers mean.
        classes: the labels it can answer.
        parameters: its hyper-parameters, JSON-safe.
        importances: one number per input, where the model keeps them.
        versions: the libraries that the file says it was made with.
    """

    framework: str
    algorithm: str
    columns: tuple[Column, ...] | None
    has_names: bool
    task: Task
    classes: tuple[Label, ...] | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    importances: tuple[float, ...] | None = None
    versions: dict[str, str] = field(default_factory=dict)
    tells_types: bool = False


class Loaded(Protocol):
    """A model out of its file, before it is known which rows it will get."""

    def traits(self) -> Traits:
        """What the model tells of itself."""

    def check_structure(self) -> None:
        """Refuse a crafted file that loads but would make scoring read foreign memory.

        Raises:
            UnsafeArtifact: it is one.
        """

    def serve(self, signature: Signature, *, labels_from_probabilities: bool = False) -> Model:
        """The model that scores rows of this signature.

        Args:
            signature: of the rows that `score` will get.
            labels_from_probabilities: whether the likeliest class was found to equal the model's own label, so that
                one pass is enough.
        """


def plain(answers: Any) -> list[Any]:
    """Answers as JSON-safe values: what is no finite number becomes None.

    >>> plain(np.array([1.5, np.nan]))
    [1.5, None]
    """
    array = np.asarray(answers)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        return (
            [value if isfinite(value) else None for value in array.tolist()]
            if array.ndim == 1
            else _nested(array)
        )
    values: list[Any] = array.tolist()
    return values


def _nested(array: NDArray[Any]) -> list[Any]:
    return [plain(row) for row in array]


def single_column(answers: NDArray[Any]) -> NDArray[Any]:
    """Answers of shape (rows, 1) as (rows,); anything else as it is."""
    return answers[:, 0] if answers.ndim == 2 and answers.shape[1] == 1 else answers


def json_safe(value: Any) -> Any:
    """A hyper-parameter as JSON: numbers, text and lists of them as they are, the rest by its representation."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if np.isfinite(value) else str(value)
    if value is None or isinstance(value, str | int):
        return value[:MAX_REPR] if isinstance(value, str) else value
    if isinstance(value, list | tuple) and len(value) <= 20:
        return [json_safe(item) for item in value]
    if isinstance(value, type) or callable(value):
        return getattr(value, "__name__", type(value).__name__)
    return repr(value)[:MAX_REPR] if isinstance(value, dict | set) else type(value).__name__


def first_line(message: Any) -> str:
    r"""The beginning of a library's message, fit to be repeated in an answer: short, and without directories.

    >>> first_line(ValueError("no such file: /srv/models/a/model.skops\nmore"))
    'no such file: model.skops'
    """
    line = str(message).strip().partition("\n")[0]
    return _DIRECTORIES.sub("", line)[:MAX_MESSAGE]


def storable(value: Any) -> Any:
    r"""JSON as Postgres takes it: no NaN or infinity, and neither NUL nor lone surrogates in text.

    >>> storable({"a": ["b\0", float("inf"), 1]})
    {'a': ['b?', None, 1]}
    """
    if isinstance(value, str):
        return value if is_plain_text(value) else value.replace("\0", "?").encode("utf-8", "replace").decode()
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, dict):
        return {storable(key): storable(item) for key, item in value.items()}
    return [storable(item) for item in value] if isinstance(value, list) else value


def float_columns(names: list[str], *, nullable: bool) -> tuple[Column, ...]:
    """Columns of numbers under the model's own names."""
    return tuple(Column(name, ColumnType.FLOAT, nullable) for name in names)
