"""What the times of a reference's rows tell: in which order they came, hence how they depend on each other, and the week."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from app.runtimes.cells import ColumnError, shorten
from app.runtimes.errors import BadSample
from app.runtimes.profiles import Answered, Plan
from app.runtimes.sifting import NO_TIME, LeftOut
from app.stats.profile import Profile
from app.stats.seasons import HOURS, hours_of_week

if TYPE_CHECKING:
    import pandas as pd

WEEKS = 2
"""Before each hour of the week was seen twice, what happened once would be taken for what always happens."""
MOST_COLUMNS = 100
"""Of a plan whose week is kept: 168 hours of more take hundreds of megabytes to look at."""

Seconds = NDArray[np.int64]


@dataclass(frozen=True)
class RowOrder:
    """What is known of the rows of a reference beside what is in them.

    Attributes:
        effects, freedom: of each column, as in `dependence.Dependence`, the rows taken in the order in which they are.
        in_time: whether that is known to be the order of time; a sample without times may have been shuffled.
        hours: how many rows are of each hour of the week; None without times.
    """

    effects: Sequence[float]
    freedom: Sequence[float]
    in_time: bool
    hours: Sequence[int] | None

    def to_json(self) -> dict[str, Any]:
        """The form in which it is stored; `from_json` reads it back."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: dict[str, Any] | None, columns: int) -> Self:
        """What was stored; of a plan from before anything was, that nothing is known."""
        return (
            cls([1.0] * columns, [0.0] * columns, in_time=False, hours=None)
            if stored is None
            else cls(**stored)
        )


def row_order(
    plan: Plan, profile: Profile, rows: Answered, seconds: Seconds | None, *, is_whole: bool = True
) -> RowOrder:
    """What the order of some rows tells.

    Args:
        plan: whose columns they are.
        profile: their own.
        rows: in the order in which they came.
        seconds: since 1970, their times, ascending, where these are known.
        is_whole: none between them was left out, without which they depend on each other less than they did.
    """
    from app.stats.reference import Reference  # noqa: PLC0415 - and SciPy with it, which no start waits for
    from app.stats.row_dependence import of_rows  # noqa: PLC0415 - as above

    hours = None if seconds is None else hours_of_week(seconds)
    season = hours if has_whole_weeks(plan, seconds) else None
    found = of_rows(Reference(profile), plan.values(rows), season)
    by_hour = None if hours is None else np.bincount(hours, minlength=HOURS).tolist()
    return RowOrder(found.effects.tolist(), found.freedom.tolist(), seconds is not None and is_whole, by_hour)


def has_whole_weeks(plan: Plan, seconds: Seconds | None) -> bool:
    """Whether rows of these times, ascending, tell what each hour of the week is like; not of too many columns."""
    if seconds is None or len(plan.columns) > MOST_COLUMNS:
        return False
    return bool(seconds[-1] // 3600 - seconds[0] // 3600 + 1 >= WEEKS * HOURS)


def weekly(
    plan: Plan, parts: Sequence[Answered], seconds: Seconds | None
) -> Iterator[tuple[int, int, Profile]]:
    """Each hour of the week with its rows and their profile, where whole weeks were seen; else nothing.

    Args:
        plan: whose columns they are.
        parts: the rows, column by column; some may have no more than the first of them.
        seconds: their times, ascending.
    """
    if seconds is None or not has_whole_weeks(plan, seconds):
        return
    hours = hours_of_week(seconds)
    for hour in np.unique(hours).tolist():
        places = np.flatnonzero(hours == hour)
        profiles = [plan.profile(part.at(places[places < part.count])) for part in parts]
        yield hour, len(places), sum(profiles[1:], profiles[0])


def in_order_of(
    frame: "pd.DataFrame", column: str | None
) -> "tuple[pd.DataFrame, pd.Series[int] | None, LeftOut]":
    """A sample without its column of times, in their order, and these, seconds since 1970; as it is where none is named.

    Of the rows that have no time the last tells.

    Raises:
        BadSample: there is no such column, or most of it is no time.
    """
    left = LeftOut(len(frame))
    if column is None:
        return frame, None, left
    if column not in frame.columns:
        raise BadSample(f"the sample has no column {column!r}, which `reference_time` names")
    seconds = _seconds(frame[column], column, left)
    left.require_few()
    order = seconds.index[np.argsort(seconds.to_numpy(), kind="stable")]
    return frame.drop(columns=column).loc[order], seconds.loc[order], left


def _seconds(series: "pd.Series[Any]", column: str, left: LeftOut) -> "pd.Series[int]":
    import pandas as pd  # noqa: PLC0415 - only the probe's child needs it here

    if pd.api.types.is_numeric_dtype(series):  # seconds, milliseconds, days: nobody can tell
        series = series.map("the number {}".format, na_action="ignore")
    times = pd.to_datetime(series, utc=True, errors="coerce", format="ISO8601")
    cells = series[times.isna()].map(str, na_action="ignore")
    left.add(
        cells.index.to_numpy(), {place: [_no_time(column, cell)] for place, cell in enumerate(cells.tolist())}
    )
    known = times.dropna()
    seconds = known.dt.tz_localize(None).to_numpy("datetime64[s]").astype(np.int64)
    return pd.Series(seconds, known.index)


def _no_time(column: str, cell: Any) -> ColumnError:
    got = shorten(cell if isinstance(cell, str) else None)
    return ColumnError(column, NO_TIME, "a time as in 2026-03-01T12:00:00Z", got)
