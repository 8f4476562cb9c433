"""Models small enough to predict in the head, for tests of what is around a model."""

import threading
import time

import numpy as np

from app.runtimes.rows import Rows, parse_rows
from app.runtimes.schema import Column, ColumnType, Signature, Task
from app.runtimes.scores import Scores

ONE_NUMBER = Signature((Column("x", ColumnType.FLOAT),), Task.REGRESSION)


def rows_of(*numbers: float) -> Rows:
    return parse_rows({"instances": [[number] for number in numbers]}, ONE_NUMBER, max_rows=1_000_000)


class Doubling:
    """Answers twice its input, refuses a batch that holds a negative number, and remembers every call."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def score(self, rows: Rows) -> Scores:
        assert rows.matrix is not None
        self.calls.append(len(rows.good))
        numbers = rows.matrix[:, 0]
        if (numbers < 0).any():
            raise ValueError("negative input\nwith a second line")
        return Scores((numbers * 2).tolist(), np.column_stack([1 - numbers, numbers]), (0, 1))


class Busy(Doubling):
    """A doubling that takes its time, and tells when two calls overlap."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self.overlapped = False
        self._lock = threading.Lock()

    def score(self, rows: Rows) -> Scores:
        self.overlapped |= not self._lock.acquire(blocking=False)
        time.sleep(self.seconds)
        self._lock.release()
        return super().score(rows)


class Gated(Doubling):
    """A doubling that waits for a gate, so that a test decides when it answers."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.is_at_the_gate = threading.Event()

    def score(self, rows: Rows) -> Scores:
        self.is_at_the_gate.set()
        assert self.gate.wait(5)
        return super().score(rows)
