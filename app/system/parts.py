"""The parts of the service: how each of them is, and why."""

import asyncio
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from starlette.datastructures import State

from app.alerts.sealing import Vault
from app.artifacts.store import ArtifactStore
from app.core.config import Settings
from app.core.errors import Refusal
from app.core.health import Check, Condition, Health, Part
from app.evidence.backlog import Spools
from app.runtimes.cache import ModelCache, Phase, VersionState
from app.system.glance import Away, Glance, Watch
from app.traffic.live import RouteTable

SLOW_DATABASE_MS = 250.0
UNSEALED_SECONDS = 10.0
UNCONFIRMED_SECONDS = 10.0
STORE_SECONDS = 2.0
LEAST_FREE = 0.05
_NO_BLOB = "0" * 64
_UNKNOWN = Part(Condition.DEGRADED, "unknown while the database is away")


def watch_parts(state: State) -> None:
    """Let the health of a service whose state is complete tell how its parts are, and its metrics look there too."""
    settings: Settings = state.settings
    health: Health = state.health
    watch = state.watch = Watch(
        state.database,
        Spools(settings.base_path / "spool", settings.spool_bytes),
        lambda: answering(state.routes) | state.models.states().keys(),
    )
    health.add("database", _examine_database(watch))
    health.add("models", lambda: _examine_models(state.models, state.routes, watch))
    health.add("routes", lambda: _examine_routes(state.routes))
    health.add("log", _examine_log(watch))
    health.add("storage", lambda: _examine_storage(state.store, settings))
    for name, judge in JUDGES.items():
        health.add(name, _examine_by(judge, watch))
    health.add("channels", _examine_by(partial(judge_channels, state.vault), watch))


def _examine_by(judge: Callable[[Glance], Part], watch: Watch) -> Check:
    async def examine() -> Part:
        seen = await watch.look()
        return _UNKNOWN if isinstance(seen, Away) else judge(seen)

    return examine


def _examine_log(watch: Watch) -> Check:
    async def examine() -> Part:
        return (await watch.look()).log

    return examine


def _examine_database(watch: Watch) -> Check:
    async def examine() -> Part:
        seen = await watch.look()
        if isinstance(seen, Away):
            return Part(Condition.DOWN, f"{seen.reason}; predictions go on, changes have to wait")
        return judge_database(seen)

    return examine


def judge_database(seen: Glance) -> Part:
    """Slow is degraded: every change waits for it."""
    figures = {"latency_ms": seen.latency_ms, "server_version": seen.server_version}
    if seen.latency_ms > SLOW_DATABASE_MS:
        return Part(Condition.DEGRADED, f"an empty question took {seen.latency_ms:.0f} ms", figures)
    return Part(Condition.OK, figures=figures)


def judge_jobs(seen: Glance) -> Part:
    """Work that nobody takes, or that was given up lately."""
    figures = asdict(seen.jobs)
    if seen.jobs.overdue:
        return Part(
            Condition.DEGRADED, f"{seen.jobs.overdue} jobs are a minute late: too few workers", figures
        )
    if seen.jobs.failed:
        return Part(Condition.DEGRADED, f"{seen.jobs.failed} jobs failed within the last hour", figures)
    return Part(Condition.OK, figures=figures)


def judge_worker(seen: Glance) -> Part:
    """A worker seals facts within a second and one of them leads; what is left undone shows that none is there."""
    leader = asdict(seen.leader) if seen.leader else None
    figures = {"leader": leader, "unsealed_seconds": round(seen.unsealed_seconds, 1)}
    if seen.unsealed_seconds > UNSEALED_SECONDS:
        waited = f"facts have waited {seen.unsealed_seconds:.0f} s to be sealed"
        return Part(Condition.DEGRADED, f"{waited}: no worker runs", figures)
    if seen.leader is None:
        return Part(Condition.DEGRADED, "no worker leads: nothing is done by the clock", figures)
    return Part(Condition.OK, figures=figures)


def judge_replicas(seen: Glance) -> Part:
    """The processes that answer traffic now."""
    live = [
        {"name": replica.name, "started_at": replica.started_at, "seen_at": replica.seen_at}
        for replica in seen.replicas
    ]
    if not live:
        return Part(Condition.DEGRADED, "no process has said lately that it answers traffic")
    return Part(Condition.OK, figures={"live": live})


def judge_channels(vault: Vault, seen: Glance) -> Part:
    """Alerts can only be sent where the key of their channel is, and any replica may be the one to send."""
    sealed = [name for name, start in seen.channels.items() if not vault.can_open(start)]
    figures = {"count": len(seen.channels), "unreadable": sealed}
    if sealed:
        trouble = f"{', '.join(sealed)} can't be opened with this replica's key, and alerts wait"
        way_out = "give all replicas the same SWITCHYARD_CHANNEL_KEY_FILE, or make the channels again"
        return Part(Condition.DEGRADED, f"{trouble}: {way_out}", figures)
    return Part(Condition.OK, figures=figures)


JUDGES: Mapping[str, Callable[[Glance], Part]] = {
    "jobs": judge_jobs,
    "worker": judge_worker,
    "replicas": judge_replicas,
}


async def _examine_models(cache: ModelCache, routes: RouteTable, watch: Watch) -> Part:
    states, needed = cache.states(), answering(routes)
    if (needed | states.keys()) - watch.names.keys():
        await watch.look()
    return judge_models(states, needed, watch.names)


def answering(routes: RouteTable) -> set[UUID]:
    """The versions that callers get answers from. Shadows and candidates are none: traffic can do without them."""
    choices = (route.find_arm(name) for route in routes.all() for name in route.arm_names)
    return {choice.version_id for choice in choices if choice is not None and choice.propensity > 0}


def judge_models(states: Mapping[UUID, VersionState], needed: set[UUID], names: Mapping[UUID, str]) -> Part:
    """Traffic waits for every version that callers get answers from; others that are not ready only degrade."""

    def tell(version_id: UUID) -> str:
        state = states.get(version_id)
        phase = state.phase.value if state else "not asked for yet"
        reason = f" ({state.reason})" if state and state.reason else ""
        return f"{names.get(version_id, str(version_id))} is {phase}{reason}"

    ready = {version_id for version_id, state in states.items() if state.phase == Phase.READY}
    figures = {"versions": _figures_of(states, names)}
    missing = sorted(tell(version_id) for version_id in needed - ready)
    if missing:
        return Part(Condition.DOWN, "; ".join(missing), figures, blocks_traffic=True)
    failed = sorted(tell(version_id) for version_id in states.keys() - ready if states[version_id].is_pinned)
    condition = Condition.DEGRADED if failed else Condition.OK
    return Part(condition, "; ".join(failed), figures, blocks_traffic=False)


def _figures_of(states: Mapping[UUID, VersionState], names: Mapping[UUID, str]) -> dict[str, Any]:
    return {
        names.get(version_id, str(version_id)): {
            "phase": state.phase.value,
            "reason": state.reason,
            "memory_bytes": state.memory_bytes,
            "pinned": state.is_pinned,
        }
        for version_id, state in states.items()
    }


async def _examine_routes(routes: RouteTable) -> Part:
    seconds = routes.seconds_since_confirmed
    figures = {"count": sum(1 for _ in routes.all()), "seconds_since_confirmed": round(seconds, 1)}
    if seconds > UNCONFIRMED_SECONDS:
        return Part(
            Condition.DEGRADED, f"changes of traffic may have been missed for {seconds:.0f} s", figures
        )
    return Part(Condition.OK, figures=figures)


async def _examine_storage(store: ArtifactStore, settings: Settings) -> Part:
    free = _free_share(settings.base_path)
    figures = {"address": settings.artifact_url, "local_disk_free": round(free, 3)}
    try:
        async with asyncio.timeout(STORE_SECONDS):
            await store.exists(_NO_BLOB)
    except (Refusal, TimeoutError) as error:
        trouble = f"the artifact store can't be reached: {error or 'no answer'}"
        return Part(Condition.DOWN, f"{trouble}; loaded models go on answering", figures)
    if free < LEAST_FREE:
        return Part(Condition.DEGRADED, f"{free:.0%} of the disk under {settings.base_path} is free", figures)
    return Part(Condition.OK, figures=figures)


def _free_share(path: Path) -> float:
    usage = shutil.disk_usage(path)
    return usage.free / usage.total
