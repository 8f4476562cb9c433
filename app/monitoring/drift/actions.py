"""Looking at windows, and keeping what was found."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy.ext.asyncio import AsyncSession

from app.core import clock
from app.core.database import Actor
from app.evidence.windows import Reference, Window
from app.monitoring.drift.cases import Case
from app.monitoring.drift.known import Floats, Known
from app.monitoring.drift.rules import MOST_NAMED, ColumnDrift, DriftVerdict, judge_drift
from app.monitoring.kinds import Recommendation
from app.monitoring.tables import DriftVerdictRow
from app.runtimes.profiles import Watched
from app.stats.profile import Profile

if TYPE_CHECKING:
    from app.stats.reference import Reference as Prepared


@dataclass(frozen=True)
class Terms:
    """How strictly a window is judged."""

    threshold: float
    false_alarms: float
    is_cautious: bool = False
    """Whether rows of which nothing is known are suspected of depending on each other."""


@dataclass(frozen=True)
class Seen:
    """A window and what it shows.

    Attributes:
        window: as it is.
        was: the reference that it was held against.
        verdict: what was found.
        columns: the same, column by column.
        design_effects: for how many each row of a column was counted.
        rows_in_order: of how many rows it was read how they depend on each other.
    """

    window: Window
    was: "Prepared"
    verdict: DriftVerdict
    columns: list[dict[str, Any]]
    design_effects: list[float]
    rows_in_order: int = 0


async def look_at(case: Case, window: Window, terms: Terms) -> Seen:
    """Hold a window against its reference, in a thread: a thousand columns take a tenth of a second."""
    return await asyncio.to_thread(judge_window, case.known, window, terms, case.importances)


def judge_window(
    known: Known, window: Window, terms: Terms, importances: Mapping[str, float] | None = None
) -> Seen:
    """Hold a window against the reference of its hours, as far as they are known."""
    from app.stats import effects  # noqa: PLC0415 - and SciPy with it, which no start waits for

    reference, was = known.reference, known.prepared_for(window)
    counting = known.design_effects(is_cautious=terms.is_cautious)
    verdict = judge_profile(
        reference.plan.columns, was, window.profile, terms, importances or {},
        design_effects=counting, rows=window.rows, reference_rows=min(reference.rows, int(was.sizes.max())),
    )  # fmt: skip
    shares = _Shares(reference, effects.coarse(was.profile), effects.coarse(window.profile))
    told = [_told(each, shares) for each in verdict.columns]
    return Seen(window, was, verdict, told, counting.tolist(), known.own.rows if known.own else 0)


def judge_profile(
    columns: Sequence[Watched],
    was: "Prepared",
    now: Profile,
    terms: Terms,
    importances: Mapping[str, float],
    *,
    design_effects: Floats,
    rows: int,
    reference_rows: int,
) -> DriftVerdict:
    """What some rows show beside others, counted along the same axes."""
    from app.stats import drift, effects  # noqa: PLC0415 - and SciPy with them, which no start waits for

    return judge_drift(
        columns,
        drift.compare(was, now, design_effects=design_effects),
        effects.measure(was, now, design_effects=design_effects),
        importances=importances,
        false_alarms=terms.false_alarms,
        threshold=terms.threshold,
        rows=rows,
        reference_rows=reference_rows,
        design_effects=design_effects,
    )


class _Shares:
    """The groups of each column, before and now, for plots."""

    def __init__(self, reference: Reference, was: Any, now: Any) -> None:
        self._places = {column.name: i for i, column in enumerate(reference.plan.columns)}
        self._was, self._now = was, now

    def of(self, name: str) -> dict[str, list[float]]:
        i = self._places[name]
        return {"reference": _as_shares(self._was[i]), "window": _as_shares(self._now[i])}


def _as_shares(counts: Any) -> list[float]:
    total = counts.sum()
    return [round(float(count / total), 6) if total else 0.0 for count in counts]


def _told(each: ColumnDrift, shares: _Shares) -> dict[str, Any]:
    told = asdict(each)
    del told["column"]
    column = each.column
    return {"feature": column.name, "source": column.source.value, **told, "groups": shares.of(column.name)}


def heed_performance(seen: Seen, *, has_fallen: bool) -> Seen:
    """The same, but for the recommendation where performance is proven to have fallen: no drift is needed then."""
    if not has_fallen:
        return seen
    return replace(seen, verdict=replace(seen.verdict, recommendation=Recommendation.RETRAIN_IMMEDIATELY))


def keep_verdict(
    session: AsyncSession,
    seen: Seen,
    case: Case,
    terms: Terms,
    *,
    since: datetime | None,
    until: datetime | None,
) -> DriftVerdictRow:
    """Store what was found, with the profile that it was found in."""
    row = keep_summary(session, seen, case, terms, since=since, until=until)
    row.columns = seen.columns
    row.counts, row.sums, row.extremes, row.labels = seen.window.profile.to_bytes()
    return row


def keep_summary(
    session: AsyncSession,
    seen: Seen,
    case: Case,
    terms: Terms,
    *,
    since: datetime | None,
    until: datetime | None,
) -> DriftVerdictRow:
    """Store what was found, and of the columns those that moved the farthest."""
    actor: Actor = session.info["actor"]
    verdict = seen.verdict
    row = DriftVerdictRow(
        model_id=case.version.model_id, version_id=case.version_id, version=case.version.number,
        environment=case.environment, at=clock.now(), since=since, until=until, rows=seen.window.rows,
        asked_by=actor.name, finding=verdict.finding, recommendation=verdict.recommendation, score=verdict.score,
        low=verdict.low, high=verdict.high, false_alarms=terms.false_alarms, threshold=terms.threshold,
        columns=seen.columns[:MOST_NAMED], basis=_basis(seen, case),
    )  # fmt: skip
    session.add(row)
    return row


def _basis(seen: Seen, case: Case) -> dict[str, Any]:
    return {
        "season": case.known.season,
        "buckets_learnt": case.known.buckets,
        "rows_in_order": seen.rows_in_order,
        "design_effects": seen.design_effects,
    }
