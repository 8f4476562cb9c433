"""How fast a loaded model is, measured: what decides where and in how large parts it is scored."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from app.runtimes.rows import Rows, merge_rows
from app.runtimes.scores import Model

FASTEST_ROW_SECONDS = 1e-8  # below this a clock shows noise
LEARNING_RATE = 0.1  # of an exponentially weighted mean: some ten batches to follow a change
MANY_ROWS = 256
CERTAIN_SECONDS = 0.005  # of rows beyond their call: that much is no noise, however few they are
ATTEMPTS = 20
PATIENCE_SECONDS = (
    0.25  # for the attempts at one size: a slow model is not kept from its traffic by being measured
)


@dataclass(slots=True)
class Pace:
    """The processor time of one call: a fixed part and a part for each row.

    Processor time, not elapsed time: it is what the event loop would be kept from doing, whoever else is busy.
    """

    call_seconds: float
    row_seconds: float
    cheap_rows: int = 1
    """The most rows that were seen to take no more than two calls."""

    def seconds(self, rows: int) -> float:
        """How long scoring this many rows in one call is expected to take."""
        return self.call_seconds + self.row_seconds * rows

    def rows_within(self, seconds: float) -> int:
        """The most rows that one call should score: as many as it does in this time, at least one.

        Where a call takes most of that time whatever it scores, few rows would cost as much as many: then as many as
        double it, at most twice what was seen not to.
        """
        within = int((seconds - self.call_seconds) / self.row_seconds)
        doubling = int(self.call_seconds / self.row_seconds)
        return max(1, within, min(doubling, 2 * self.cheap_rows))

    def learn(self, rows: int, seconds: float) -> None:
        """Follow what rows take in large batches; smaller ones would mostly teach what else the machine did."""
        if seconds <= 2 * self.call_seconds:
            self.cheap_rows = max(self.cheap_rows, rows)
        if rows >= MANY_ROWS or self._is_certain(rows):
            surprise = (seconds - self.seconds(rows)) / rows
            self.row_seconds = max(FASTEST_ROW_SECONDS, self.row_seconds + LEARNING_RATE * surprise)

    def _is_certain(self, rows: int) -> bool:
        """Whether so many rows are expected to take so long that their time is told from their call's."""
        return self.row_seconds * rows >= max(CERTAIN_SECONDS, self.call_seconds / 2)


def unknown_pace() -> Pace:
    """What to assume of a model that has no sample to be measured with: slow."""
    return Pace(call_seconds=0.001, row_seconds=0.0001)


def measure_pace(model: Model, sample: Rows) -> Pace:
    """Score one row of a sample and many, several times, and take the quickest of each."""
    one = sample.slice(0, 1)
    lone_seconds = _quickest(lambda: model.score(one))
    count = _rows_within_patience(lone_seconds)
    while count < MANY_ROWS and _timed(partial(model.score, _repeat(sample, count))) <= PATIENCE_SECONDS / 2:
        count = min(MANY_ROWS, 2 * count)
    batch_seconds = _quickest(partial(model.score, _repeat(sample, count)))
    row_seconds = max(FASTEST_ROW_SECONDS, (batch_seconds - lone_seconds) / (count - 1))
    pace = Pace(max(0.0, lone_seconds - row_seconds), row_seconds)
    pace.learn(count, batch_seconds)
    return pace


def _rows_within_patience(row_seconds: float) -> int:
    return min(MANY_ROWS, max(2, int(PATIENCE_SECONDS / max(row_seconds, FASTEST_ROW_SECONDS))))


def _repeat(sample: Rows, rows: int) -> Rows:
    copies = -(-rows // len(sample.good))
    return merge_rows([sample] * copies).slice(0, rows)


def _quickest(call: Callable[[], object]) -> float:
    began = time.monotonic()
    fastest = _timed(call)
    for _ in range(ATTEMPTS - 1):
        if time.monotonic() - began > PATIENCE_SECONDS:
            break
        fastest = min(fastest, _timed(call))
    return fastest


def _timed(call: Callable[[], object]) -> float:
    began = time.thread_time()
    call()
    return time.thread_time() - began
