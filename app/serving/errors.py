"""Why a prediction is refused."""

from dataclasses import dataclass
from typing import Any

from app.core.errors import Conflict, Invalid, NotFound, Unavailable


@dataclass(eq=False)
class UnknownArm(NotFound):
    """The route has no such arm."""

    arm: str
    arms: list[str]

    def detail(self) -> str:
        return f"the route has no arm {self.arm!r}; it has {', '.join(map(repr, self.arms))}"


@dataclass(eq=False)
class NothingScored(Invalid):
    """Not one of the rows could be scored.

    `rows` is how many there were; `errors` tells of the first of them, each with its position and what is wrong.
    """

    rows: int
    errors: list[dict[str, Any]]

    def detail(self) -> str:
        return f"none of the {self.rows} rows could be scored; row 0: {self.errors[0]['message']}"


@dataclass(eq=False)
class ReaderLost(Unavailable):
    """The process that was reading this body ended."""

    def detail(self) -> str:
        return "the process that was reading this body ended before it was done; send fewer rows in one call"


class ColumnsDiffer(Conflict):
    """A shadow takes other columns than the version that answered, and a body of this size is not kept for it."""
