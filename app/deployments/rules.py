"""What a deployment may do next. Pure."""

from collections.abc import Sequence
from enum import StrEnum


class Strategy(StrEnum):
    """How traffic goes over to the new version."""

    DIRECT = "direct"


class Kind(StrEnum):
    """Why traffic changes."""

    PROMOTE = "promote"
    ROLLBACK = "rollback"


class Phase(StrEnum):
    """Where a deployment stands; only the first is open."""

    PREPARING = "preparing"
    LIVE = "live"
    FAILED = "failed"
    ABORTED = "aborted"


def first_problem(lacking: Sequence[tuple[str, str | None]]) -> str | None:
    """What keeps a deployment from ever being prepared: the first replica that tried and failed.

    >>> first_problem([("a", None), ("b", "out of memory")])
    'b: out of memory'
    """
    return next((f"{replica}: {problem}" for replica, problem in lacking if problem), None)
