"""The features to look at first when something has changed: ranked by what they did to the loss, as far as outcomes are known."""

import asyncio
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy.ext.asyncio import AsyncSession

from app.evidence.latest import Latest, read_latest
from app.evidence.outcome_windows import Cohort, read_latest_slots
from app.evidence.profiles import BUCKET
from app.monitoring.performance.close_looks import tell_causes
from app.monitoring.performance.depending import enough_since
from app.runtimes.schema import Signature

if TYPE_CHECKING:
    from app.registry.tables import Version

MOST_ROWS, MOST_BUCKETS = 5000, 2048
ALPHA = 0.05
"""Over all features together: only those that surely did something are named."""


async def name_causes(
    session: AsyncSession, version: "Version", cohort: Cohort, *, since: datetime, until: datetime
) -> list[str]:
    """The features whose drift surely made the loss of a window larger than before, the one that did most first.

    None where too few labels have come on either side, or nothing is sure.
    """
    read = partial(read_latest, session, version.model_name, cohort, only_labelled=True, most=MOST_ROWS)
    slots = await read_latest_slots(session, cohort, until=since, most=MOST_BUCKETS)
    now = await read(since=since, until=until, with_features=True)
    if not slots or not len(now):
        return []
    earliest, latest = enough_since(slots, MOST_ROWS), slots[-1].at + BUCKET
    before = await read(since=earliest, until=latest, with_features=True)
    return await asyncio.to_thread(_name, Signature.from_json(version.signature), before, now)


def _name(signature: Signature, before: Latest, now: Latest) -> list[str]:
    told = tell_causes(signature, before, now, ALPHA)
    return [cause["feature"] for cause in told["features"] if cause["drift"]["low"] > 0]
