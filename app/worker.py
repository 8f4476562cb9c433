"""The process beside the HTTP ones: it seals facts, ships the log, does jobs and, as elected leader, keeps time."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC
from functools import partial

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.interval import IntervalTrigger
from sqlalchemy.exc import DBAPIError

from app.alerts import jobs as alerts
from app.alerts.retention import KEEP_INCIDENTS, keep_incidents
from app.alerts.rules import Signal
from app.alerts.signals import FROM_THE_LOG
from app.artifacts.cache import ArtifactCache
from app.artifacts.signing import open_signer
from app.artifacts.store import open_artifact_store
from app.artifacts.uploads import sweep_staging
from app.core import clock
from app.core.attempts import count_from_zero
from app.core.config import Settings
from app.core.database import Database
from app.core.facts import seal_facts
from app.core.idempotency import drop_old_receipts
from app.core.jobs import (
    CHANNEL,
    DEFAULT,
    UNHURRIED,
    WORKER,
    Claim,
    Handler,
    drop_old_jobs,
    enqueue,
    work_on,
)
from app.core.locks import leadership
from app.core.notify import Notifications
from app.core.outage import Outage, is_connection_trouble
from app.core.processes import calm_collector, stand_back
from app.core.replicas import forget_dead_replicas
from app.core.telemetry import configure_logging
from app.deployments import jobs as deployments
from app.deployments.queries import models_underway
from app.evidence import jobs as evidence
from app.evidence.jobs import KEEP_LOG_DAYS, ROLL_UP, SUM_OUTCOMES
from app.evidence.planning import PlanMaking
from app.evidence.profiles import PLAN_PROFILE
from app.evidence.shipper import ship_forever
from app.monitoring import jobs as monitoring
from app.monitoring.causes import drifted_features, fallen_features, flawed_columns
from app.monitoring.jobs import WATCH_ALL, WATCH_SECONDS
from app.monitoring.performance.baselines import BASELINE, BaselineMaking
from app.monitoring.performance.signals import accuracy_drops
from app.monitoring.quality.jobs import WATCH_QUALITY, quality_handlers
from app.monitoring.regimes.jobs import WATCH_REGIMES, regime_handlers
from app.monitoring.retention import KEEP_VERDICTS, retention_handlers
from app.monitoring.signals import (
    changes_in_words,
    drift_scores,
    estimated_losses,
    quality_scores,
    regime_changes,
)
from app.reactions import PROMPTS, REACTIONS
from app.registry.actions import CONVERT
from app.registry.conversion import BackgroundConversion, Converter
from app.runtimes.probe import Prober

log = structlog.get_logger()

SEAL_SECONDS = 0.25
AWAY_SECONDS = 1.0
JOBS_AT_ONCE = 4
MESSAGES_AT_ONCE = 2
HOURLY = 3600
SWEEP = "sweep"
UPKEEP = (SWEEP, KEEP_LOG_DAYS, ROLL_UP, SUM_OUTCOMES, KEEP_VERDICTS, KEEP_INCIDENTS)
WATCHES = (WATCH_ALL, WATCH_QUALITY, WATCH_REGIMES)
FROM_MONITORS = {
    Signal.ACCURACY_DROP: accuracy_drops,
    Signal.ESTIMATED_LOSS: estimated_losses,
    Signal.DRIFT: drift_scores,
    Signal.QUALITY_SCORE: quality_scores,
    Signal.REGIME_CHANGES: regime_changes,
}
NAMED_BY_MONITORS = {
    Signal.ACCURACY_DROP: fallen_features,
    Signal.ESTIMATED_LOSS: drifted_features,
    Signal.DRIFT: drifted_features,
    Signal.QUALITY_SCORE: flawed_columns,
    Signal.REGIME_CHANGES: changes_in_words,
}


async def run_worker(settings: Settings) -> None:
    """Work until cancelled; a database that goes away is waited for."""
    assert settings.sqlalchemy_url is not None, "the worker is told its database"
    database = Database(settings.sqlalchemy_url)
    notifications = Notifications(settings.sqlalchemy_url)
    woken = {queue: asyncio.Event() for queue in (DEFAULT, UNHURRIED, alerts.QUEUE)}

    def wake(_queue: str) -> None:
        for event in woken.values():
            event.set()

    notifications.on(CHANNEL, wake)
    try:
        async with notifications, open_handlers(settings) as handlers, asyncio.TaskGroup() as tasks:
            count_from_zero(handlers)
            tasks.create_task(ship_forever(database, settings.base_path / "spool"))
            sealing, timing, jobs = Outage("seal"), Outage("clock"), Outage("jobs")
            tasks.create_task(persist(sealing, lambda: seal_for_ever(database, sealing)))
            tasks.create_task(persist(timing, lambda: keep_time(database, timing)))
            for queue in (*[DEFAULT] * JOBS_AT_ONCE, *[alerts.QUEUE] * MESSAGES_AT_ONCE, UNHURRIED):
                work = partial(work_on, database, handlers, woken=woken[queue], queues=(queue,), outage=jobs)
                tasks.create_task(persist(jobs, work))
    finally:
        await database.close()


@asynccontextmanager
async def open_handlers(settings: Settings) -> AsyncIterator[Mapping[str, Handler]]:
    """Every kind of job and who does it."""
    store, signer = open_artifact_store(settings), open_signer(settings)
    async with Prober(
        seconds=settings.probe_seconds,
        memory_bytes=settings.probe_memory_bytes,
        allowed_unsafe=settings.allowed_unsafe_formats,
        at_once=1,
    ) as prober:
        converter = Converter(settings.base_path, store, signer, prober)

        async def sweep(claim: Claim) -> None:
            """Drop what nobody asks for any more: old receipts, dead replicas, uploads that were cut off."""
            async with claim.database.writes(WORKER) as session:
                await drop_old_receipts(session)
                await drop_old_jobs(session)
                await forget_dead_replicas(session)
            await asyncio.to_thread(sweep_staging, settings.base_path)
            await asyncio.to_thread(store.sweep_partial_writes, clock.now())

        artifacts = ArtifactCache(store, signer, settings.base_path)
        yield {
            SWEEP: sweep,
            CONVERT: BackgroundConversion(converter, artifacts),
            PLAN_PROFILE: PlanMaking(store, artifacts, prober),
            BASELINE: BaselineMaking(store, artifacts, prober),
            **deployments.HANDLERS,
            **evidence.job_handlers(settings),
            **monitoring.job_handlers(settings),
            **quality_handlers(settings),
            **regime_handlers(),
            **retention_handlers(settings),
            KEEP_INCIDENTS: keep_incidents,
            **alerts.job_handlers(
                settings,
                {**FROM_THE_LOG, **FROM_MONITORS},
                NAMED_BY_MONITORS,
                underway=models_underway,
                prompts=PROMPTS,
            ),
        }


async def persist(outage: Outage, work: Callable[[], Awaitable[None]]) -> None:
    """Start work again, after a pause, whenever the database breaks it off."""
    while True:
        try:
            await work()
        except Exception as error:
            if not (is_connection_trouble(error) or isinstance(error, DBAPIError)):
                raise
            outage.goes_on(error)
        await asyncio.sleep(AWAY_SECONDS)


async def seal_for_ever(database: Database, outage: Outage) -> None:
    """Seal facts as they are committed."""
    while True:
        async with database.writes(WORKER) as session:
            sealed = await seal_facts(session, REACTIONS)
        outage.is_over()
        if not sealed:
            await asyncio.sleep(SEAL_SECONDS)


async def keep_time(database: Database, outage: Outage) -> None:
    """While this worker leads, queue what is due by the clock; another takes over when it ends."""
    async with leadership(database.engine, "clock") as lost:
        log.info("leading")
        outage.is_over()
        scheduler = AsyncIOScheduler(timezone=UTC)
        scheduler.add_job(queue, IntervalTrigger(seconds=HOURLY), [database, *UPKEEP])
        scheduler.add_job(queue, IntervalTrigger(seconds=WATCH_SECONDS), [database, *WATCHES])
        scheduler.add_job(alerts.queue_looks, IntervalTrigger(seconds=alerts.TICK_SECONDS), [database])
        scheduler.start()
        try:
            await queue(database, *UPKEEP)
            await lost.wait()
        finally:
            scheduler.shutdown(wait=False)


async def queue(database: Database, *kinds: str) -> None:
    """Queue what is due by the clock; what is still open from the time before is not queued twice."""
    async with database.writes(WORKER) as session:
        for kind in kinds:
            await enqueue(session, kind, {}, dedupe_key=kind)


def main() -> None:
    """Run until SIGTERM or SIGINT."""
    stand_back()
    settings = Settings()
    configure_logging(settings.log_level)
    calm_collector()
    with suppress(asyncio.CancelledError):
        asyncio.run(_until_told_to_stop(settings))


async def _until_told_to_stop(settings: Settings) -> None:
    work = asyncio.ensure_future(run_worker(settings))
    for order in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(order, work.cancel)
    await work


if __name__ == "__main__":
    main()
