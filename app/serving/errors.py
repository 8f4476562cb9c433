"""Why a prediction is refused."""

from dataclasses import dataclass
from typing import Any

from app.core.errors import Conflict, Invalid, NotFound, Unavailable


@dataclass(eq=False)
class UnknownArm(NotFound):
    """The route has no such arm.

    `arm` picks an arm of the route by its name. The route in this environment has only those in `arms`, and
    they change with every deployment; a version that is named itself has none.
    """

    arm: str
    arms: list[str]

    def detail(self) -> str:
        return f"the route has no arm {self.arm!r}; it has {', '.join(map(repr, self.arms))}"


@dataclass(eq=False)
class NothingScored(Invalid):
    """Not one of the rows could be scored.

    Rows fail one by one, and of these `rows` none is left: they don't fit the signature, or the model failed
    on them. `errors` tells of the first 20, each with its position from 0 and what is wrong.
    """

    rows: int
    errors: list[dict[str, Any]]

    def detail(self) -> str:
        return f"none of the {self.rows} rows could be scored; row 0: {self.errors[0]['message']}"


@dataclass(eq=False)
class ReaderLost(Unavailable):
    """The process that was reading this body ended.

    A large body is read in a process apart, so that it holds up nobody else. That process ended in the
    middle; nothing of the request was answered or recorded.
    """

    def detail(self) -> str:
        return "the process that was reading this body ended before it was done; send fewer rows in one call"


class ColumnsDiffer(Conflict):
    """A shadow takes other columns than the version that answered, and a body of this size is not kept for it.

    No caller gets this: it ends the shadow's part alone, after the caller had an answer, and is counted in
    `shadow_requests_dropped_total`. Bodies that a process apart has read are not read a second time for other
    columns.
    """
