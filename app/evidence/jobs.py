"""The durable work on the evidence: the upkeep of the log, its sums, and what follows from a registration."""

import time
from collections.abc import Mapping
from uuid import UUID

from app.core.config import Settings
from app.core.facts import get_fact
from app.core.jobs import WORKER, Claim, Handler, TryAgain
from app.evidence.actions import keep_log_days
from app.evidence.outcome_sums import refresh_due
from app.evidence.profiles import ask_for_plan
from app.evidence.rollups import roll_up_profiles
from app.registry.queries import find_version

KEEP_LOG_DAYS = "keep_log_days"
ROLL_UP = "roll_up_profiles"
PLAN_REGISTERED = "plan_registered"
SUM_OUTCOMES = "sum_outcomes"
LEAST_PAUSE_SECONDS, BUSY_SECONDS, PAUSES_PER_BUSY = 2.0, 1.0, 4
"""Sums are seconds behind the labels, and making them takes a fifth of one of the worker's hands at most."""


def job_handlers(settings: Settings) -> Mapping[str, Handler]:
    """The kinds of job that this room does; all of them are upkeep, due again and again."""

    async def keep_days(claim: Claim) -> None:
        async with claim.database.writes(WORKER) as session:
            await keep_log_days(session, settings.prediction_retention_days)

    return {
        KEEP_LOG_DAYS: keep_days,
        ROLL_UP: roll_up,
        SUM_OUTCOMES: sum_outcomes,
        PLAN_REGISTERED: plan_registered,
    }


async def sum_outcomes(claim: Claim) -> None:
    """Make sums of what came true wherever the log changed.

    Raises:
        TryAgain: always; there is no end to it.
    """
    began, is_behind = time.monotonic(), True
    while is_behind and time.monotonic() - began < BUSY_SECONDS:
        async with claim.database.writes(WORKER) as session:
            is_behind = await refresh_due(session)
    raise TryAgain(max(LEAST_PAUSE_SECONDS, PAUSES_PER_BUSY * (time.monotonic() - began)))


async def roll_up(claim: Claim) -> None:
    """Add up what is older than it needs to be told apart."""
    await roll_up_profiles(claim.database)


async def plan_registered(claim: Claim) -> None:
    """Have a version that was registered with a sample profiled, long before anybody asks it anything."""
    async with claim.database.writes(WORKER) as session:
        fact = await get_fact(session, UUID(claim.payload["fact_id"]))
        version = await find_version(session, fact.body["model"], fact.body["version"])
        if version is not None and (version.probe.get("rows") or {}).get("reference"):
            await ask_for_plan(session, version.id)
