"""What a model answers, and the one method that everything above calls to get it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from app.runtimes.rows import Rows
from app.runtimes.schema import Label


@dataclass(slots=True)
class Scores:
    """The answers for the good rows of a batch, in their order.

    Attributes:
        prediction: one JSON-safe value per row.
        probabilities: shape (rows, classes), or None where the model gives none.
        classes: what the columns of `probabilities` stand for.
    """

    prediction: list[Any]
    probabilities: NDArray[np.float64] | None = None
    classes: tuple[Label, ...] | None = None

    def confidence(self) -> list[float] | None:
        """The largest probability of each row."""
        if self.probabilities is None:
            return None
        confidence: list[float] = self.probabilities.max(axis=1).tolist()
        return confidence

    def split(self, counts: Sequence[int]) -> list["Scores"]:
        """The parts of a merged batch's answers that belong to each of its requests."""
        parts, start = [], 0
        for count in counts:
            parts.append(self.slice(start, start + count))
            start += count
        return parts

    def slice(self, start: int, stop: int) -> "Scores":
        """The answers of rows `start` up to `stop`."""
        probabilities = None if self.probabilities is None else self.probabilities[start:stop]
        return Scores(self.prediction[start:stop], probabilities, self.classes)


class Model(Protocol):
    """A loaded model: scoring is its only verb, and it is safe to call from several threads."""

    def score(self, rows: Rows) -> Scores:
        """The answers for the good rows."""
