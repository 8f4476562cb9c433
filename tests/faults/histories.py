"""Whether a history of operations on one route could have happened one at a time, each at a moment within its span.

A route is a register whose every write is stamped with its place in the order, the revision. So the order that Wing
and Gong (1993) have to search for is given, and what is left to check is that it agrees with the clock.
"""

from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Operation:
    """One call: when it began and ended, and the state that it made (a write) or met (a read)."""

    is_write: bool
    began: float
    ended: float
    revision: int
    version: str


def violations(history):
    """Every way in which a history is not linearizable."""
    writes = {each.revision: each for each in history if each.is_write}
    if len(writes) < sum(each.is_write for each in history):
        yield "two writes made the same revision"
    yield from (f"revision {a} is followed by {b}" for a, b in pairwise(sorted(writes)) if b != a + 1)
    for each in history:
        yield from _against_its_write(each, writes.get(each.revision))
    yield from _against_the_clock(history)


def _against_its_write(read, write):
    if write is None:
        return
    if read.version != write.version:
        yield f"revision {read.revision} is {write.version} to who made it and {read.version} to a reader"
    if read.ended < write.began:
        yield f"revision {read.revision} was met before it was asked for"


def _against_the_clock(history):
    """Whoever begins after another has ended meets at least that state, and makes a later one."""
    newest, ended = 0, sorted(history, key=lambda each: each.ended)
    for each in sorted(history, key=lambda each: each.began):
        while ended and ended[0].ended < each.began:
            newest = max(newest, ended.pop(0).revision)
        if each.revision < newest + each.is_write:
            yield f"revision {each.revision} was met or made after {newest} was there"
