"""The durable work of monitors: looking at every version in production as its rows come."""

from collections.abc import Mapping
from functools import partial

from app.core import clock
from app.core.config import Settings
from app.core.jobs import WORKER, Claim, Handler
from app.evidence.windows import list_answering
from app.monitoring.drift.watching import watch_version
from app.monitoring.performance.baselines import BASELINE_REGISTERED, baseline_registered
from app.monitoring.performance.jobs import WATCH_PERFORMANCE, ask_for_watches, watch_claimed
from app.monitoring.performance.unlabelled import WATCH_UNLABELLED, ask_for_estimates, unlabelled_claimed
from app.monitoring.watches import LATELY, cohort_of, have_watched

WATCH_ALL, WATCH = "watch_all", "watch"
WATCH_SECONDS = 60


def job_handlers(settings: Settings) -> Mapping[str, Handler]:
    """The kinds of job that this room does."""

    async def watch_all(claim: Claim) -> None:
        """Have every version that answered somebody lately looked at."""
        async with claim.database.writes(WORKER) as session:
            await have_watched(session, WATCH, await list_answering(session, since=clock.now() - LATELY))
            await ask_for_watches(session)
            await ask_for_estimates(session)

    async def watch(claim: Claim) -> None:
        whose = cohort_of(claim)
        await watch_version(claim.database, whose.version_id, whose.environment, settings)

    return {
        WATCH_ALL: watch_all,
        WATCH: watch,
        WATCH_PERFORMANCE: partial(watch_claimed, settings=settings),
        WATCH_UNLABELLED: partial(unlabelled_claimed, settings=settings),
        BASELINE_REGISTERED: baseline_registered,
    }
