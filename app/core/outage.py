"""What is logged while the database is away: that it went, now and then that it still is, and that it is back.

Work that needs it tries again every second or so; a line for each attempt would hide everything else.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import asyncpg
import structlog
from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_dbapi
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.core import clock

log = structlog.get_logger()
REMINDED_EACH = timedelta(minutes=1)
_NEVER = datetime.min.replace(tzinfo=UTC)
_BROKEN_CONNECTION = (
    "08",
    "57P",
    "53300",
    "25P03",
)  # SQLSTATE classes: connection, operator intervention, too many connections, stopped in a transaction
RAISED_BY_DRIVER = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    AsyncAdapt_asyncpg_dbapi.Error,
)  # raised as they are while a connection is made; of one that is there, SQLAlchemy wraps them
_SAYS_SO = (InterfaceError, PoolTimeout, OSError, *RAISED_BY_DRIVER)


def state_of(error: BaseException) -> str:
    """The SQLSTATE of an error of SQLAlchemy or of its driver; empty where there is none."""
    return str(getattr(getattr(error, "orig", error), "sqlstate", "") or "")


def is_connection_trouble(error: BaseException) -> bool:
    """Whether an error says that the database is away, rather than that a statement was wrong."""
    if isinstance(error, _SAYS_SO) or state_of(error).startswith(_BROKEN_CONNECTION):
        return True
    met = getattr(getattr(error, "orig", None), "__cause__", None)
    if isinstance(
        met, asyncpg.InternalClientError
    ):  # a connection that was cut off in the midst of an answer
        return True
    return isinstance(error, DBAPIError) and (
        error.connection_invalidated or isinstance(error, OperationalError)
    )


@dataclass
class Outage:
    """The database as one kind of work meets it.

    Attributes:
        work: what can't be done without it.
        attempts: how often that was tried in vain since it was interrupted.
    """

    work: str
    attempts: int = field(default=0, init=False)
    _since: datetime | None = field(default=None, init=False)
    _is_away: bool = field(default=False, init=False)
    _tried_at: datetime = field(default=_NEVER, init=False)
    _told_at: datetime = field(default=_NEVER, init=False)

    def goes_on(self, error: BaseException) -> None:
        """An attempt was in vain: the first is told, and of the others one a minute.

        After a minute without any it is another outage: requests, for one, don't say when they succeed again. So it is when
        what looked like a wrong statement turns out to be a database that is away.
        """
        now, is_away = clock.now(), is_connection_trouble(error)
        is_another = now - self._tried_at > REMINDED_EACH or (is_away and not self._is_away)
        if self._since is None or is_another:
            self._since, self._is_away = now, is_away
            self.attempts, self._told_at = 0, _NEVER
        self.attempts, self._tried_at = self.attempts + 1, now
        if now - self._told_at >= REMINDED_EACH:
            self._told_at = now
            event = "database_away" if self._is_away else "work_interrupted"
            cause = getattr(error, "orig", None) or error  # SQLAlchemy's own text brings the statement along
            log.warning(event, **self._told(self._since), error=f"{type(cause).__name__}: {cause}")

    def is_over(self, **counts: int) -> None:
        """An attempt succeeded, which is told once, with what came of it."""
        if self._since is None:
            return
        event = "database_back" if self._is_away else "work_resumed"
        seconds = round((clock.now() - self._since).total_seconds(), 1)
        log.warning(event, **self._told(self._since), after_seconds=seconds, **counts)
        self._since, self.attempts = None, 0

    def _told(self, since: datetime) -> dict[str, str | int]:
        return {"work": self.work, "since": since.isoformat(), "attempts": self.attempts}
