"""The time. Tests move it by replacing `now`; nothing else asks the machine what day it is."""

from datetime import UTC, datetime


def now() -> datetime:
    """This moment, in UTC."""
    return datetime.now(UTC)
