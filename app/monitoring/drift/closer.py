"""A second look at what hangs on the order of a window's rows, with what they say of it themselves.

How the rows of a stream depend on each other is not known at its beginning where its reference may have been shuffled. To
suspect all of them costs the first hours of a monitor most of what it could find; to read rows at every look costs too much. They
are read where they decide: where drift would be proven if they did not depend on each other, or is proven on a suspicion alone.

A change within the window looks like dependence, and is found a window later.
"""

import asyncio
from dataclasses import replace

from sqlalchemy.ext.asyncio import AsyncSession

from app.evidence.in_order import InOrder, read_in_order
from app.evidence.windows import Window
from app.monitoring.drift.actions import Seen, Terms, look_at
from app.monitoring.drift.cases import Case
from app.monitoring.drift.known import Known, Own
from app.monitoring.kinds import Finding


async def look_closer(session: AsyncSession, case: Case, window: Window, terms: Terms) -> Seen:
    """Look at a window, a second time where its own rows decide and the log still has enough of them."""
    seen = await look_at(case, window, terms)
    if not await asyncio.to_thread(hangs_on_order, case.known, seen, terms):
        return seen
    ends = {"since": window.since, "until": window.until}
    rows = await read_in_order(
        session, case.reference.plan, case.version, environment=case.environment, **ends
    )
    known = await asyncio.to_thread(ask_rows, case.known, window, rows)
    return seen if known.own is None else await look_at(replace(case, known=known), window, terms)


def hangs_on_order(known: Known, seen: Seen, terms: Terms) -> bool:
    """Whether the verdict on a window may be another one when it is known how its rows depend on each other."""
    from app.stats import drift  # noqa: PLC0415 - and SciPy with it, which no start waits for

    if known.reference.order.in_time:
        return False
    if seen.verdict.finding == Finding.DRIFT:
        return known.dependence is None
    counting = known.design_effects(is_cautious=False)
    if counting.tolist() == seen.design_effects:  # nothing was counted for less on a suspicion
        return False
    found = drift.compare(seen.was, seen.window.profile, design_effects=counting)
    p = found.p[[column.is_compared for column in known.reference.plan.columns]]
    return bool((p < terms.false_alarms / len(p)).any())


def ask_rows(known: Known, window: Window, rows: InOrder) -> Known:
    """What is known when a window's own rows are too; nothing more of too few."""
    from app.stats.reference import Reference as Prepared  # noqa: PLC0415 - and SciPy with it
    from app.stats.row_dependence import LEAST_READ, bounds_of_own  # noqa: PLC0415 - as above

    if rows.rows < LEAST_READ:
        return known
    bounds = bounds_of_own(Prepared(known.reference.profile), rows.columns)
    return replace(known, own=Own(rows.rows, min(1.0, rows.rows / window.rows), bounds))
