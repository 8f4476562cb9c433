"""What is known of a stream beside its reference: by how much dependent rows count for less, and its week.

SciPy is imported where it is used: no start waits for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.ext.asyncio import AsyncSession

from app.evidence.seasons import find_week
from app.evidence.windows import Reference, Window
from app.monitoring.kinds import Season
from app.runtimes.row_order import MOST_COLUMNS
from app.stats.profile import Profile
from app.stats.seasons import Seasons, rebase

if TYPE_CHECKING:
    from app.monitoring.tables import Watch
    from app.stats.dependence import Dependence
    from app.stats.reference import Reference as Prepared

Floats = NDArray[np.float64]

LEARNT_AT = (16, 32, 64, 128, 256, 512, 1024, 2048)
"""After how many buckets dependence is estimated again; none before are enough to say anything."""
MOST_BUCKETS = 256
"""The latest of them, from which it is."""


@dataclass(frozen=True, eq=False)
class Week:
    """What was seen by the hour of the week: of the reference's own rows, or of the stream's, to be moved to its level."""

    seen: Seasons
    level: Reference | None = None

    @cached_property
    def hours(self) -> Seasons:
        """The references of the hours."""
        if self.level is None:
            return self.seen
        return rebase(self.seen, self.level.profile, self.level.order.hours)


@dataclass(frozen=True)
class Own:
    """The highest design effects that rows of a window show by their order; so many were read, this share of it."""

    rows: int
    share: float
    bounds: Floats


@dataclass(frozen=True)
class Known:
    """What windows of a stream are held against, and how strictly.

    Attributes:
        reference: of the version.
        season: whose hours of the week, if any, windows are held against.
        week: these hours.
        dependence: what the stream's buckets show, as `Dependence` has it; None until there are enough.
        buckets: how many of them there were.
        own: what the rows of the window at hand show, where somebody read them.
    """

    reference: Reference
    season: Season
    week: Week | None = None
    dependence: dict[str, Any] | None = None
    buckets: int = 0
    own: Own | None = None

    def design_effects(self, *, is_cautious: bool) -> Floats:
        """How many rows of each column count for one.

        A monitor, which promises few false alarms in a whole life, is cautious: rows that may have been shuffled are no
        sign of independence.
        """
        from app.stats.dependence import Dependence, cautious_effects, design_effects  # noqa: PLC0415

        order, buckets = self.reference.order, _dependence(self.dependence)
        rows = Dependence(np.array(order.effects), np.array(order.freedom))
        if order.in_time or not is_cautious:
            return design_effects(rows, buckets)
        if self.own is None:
            return cautious_effects(rows, buckets)
        return cautious_effects(rows, buckets, self.own.bounds, read=self.own.share)

    def prepared_for(self, window: Window) -> "Prepared":
        """The reference of a window: of the hours that it covers, where these are known."""
        from app.stats.reference import Reference as Prepared  # noqa: PLC0415

        if self.week is None or window.hours is None or not window.hours.any():
            return Prepared(self.reference.profile)
        return self.week.hours.reference(window.hours)


def _dependence(stored: dict[str, Any] | None) -> "Dependence | None":
    from app.stats.dependence import Dependence  # noqa: PLC0415

    if stored is None:
        return None
    return Dependence(np.array(stored["effects"]), np.array(stored["freedom"]))


async def find_known(
    session: AsyncSession, reference: Reference, environment: str, watch: "Watch | None"
) -> Known:
    """What is known by now: of the reference at once, of the stream what its watch has learnt."""
    layout, learnt = reference.plan.layout, (watch.dependence, watch.buckets) if watch else (None, 0)
    own = await find_week(session, layout, reference.version_id)
    if own is not None:
        return Known(reference, Season.OF_REFERENCE, Week(own), *learnt)
    if len(reference.plan.columns) > MOST_COLUMNS:
        return Known(reference, Season.TOO_MANY_COLUMNS, None, *learnt)
    is_learnt = watch is not None and watch.season_from is not None
    seen = await find_week(session, layout, reference.version_id, environment) if is_learnt else None
    if seen is None:
        return Known(reference, Season.NOT_KNOWN_YET, None, *learnt)
    return Known(reference, Season.LEARNT, Week(seen, reference), *learnt)


def learn_dependence(reference: Reference, buckets: Sequence[Profile]) -> dict[str, Any]:
    """What some buckets in a row show, in the form in which a watch keeps it."""
    from app.stats.dependence import of_buckets  # noqa: PLC0415
    from app.stats.reference import Reference as Prepared  # noqa: PLC0415

    found = of_buckets(Prepared(reference.profile), buckets)
    return {"effects": found.effects.tolist(), "freedom": found.freedom.tolist()}
