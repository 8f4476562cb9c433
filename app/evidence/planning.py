"""How a version gets the axes along which its rows are counted: from its reference sample, or from its first rows."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np
import structlog
from sqlalchemy import Row, select, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.artifacts.cache import ArtifactCache
from app.artifacts.store import ArtifactStore
from app.core import clock
from app.core.errors import Refusal
from app.core.facts import announce
from app.core.jobs import WORKER, Claim, JobState, TryAgain, find_latest_job
from app.core.locks import hold_until_commit
from app.evidence.facts import ReferenceProfiled
from app.evidence.profiles import Counted, Place, add_to_profile, plan_job, plan_lock
from app.evidence.rules import ReferenceKind
from app.evidence.seasons import REFERENCE, add_to_week
from app.evidence.tables import SECTIONS, PredictionRow, ProfilePlan
from app.evidence.windows import start_of_bucket
from app.registry.files import manifest_of
from app.registry.queries import files_of, find_version_by_id
from app.runtimes.probe import Prober
from app.runtimes.profiles import Answered, Plan, columns_of, make_plan
from app.runtimes.row_order import row_order, weekly
from app.runtimes.schema import Signature
from app.stats.profile import Profile, Sections

if TYPE_CHECKING:
    from app.registry.tables import Version

log = structlog.get_logger()

FIRST_ROWS = 1000  # the fewest that make a reference; fewer hold too little of a distribution's tails
MOST_FIRST_ROWS = 10_000
MOST_COUNTED_AFTERWARDS = 50_000  # of the log's rows that came before the plan, the latest
COLLECTING_SECONDS = 60.0
MOST_TROUBLE = 300  # characters of what went wrong that a caller is told
_SPOOL = "before the plan"


@dataclass(frozen=True)
class Reference:
    """A plan, and the profile of what it was made from."""

    kind: ReferenceKind
    rows: int
    plan: Plan
    sections: Sections
    order: dict[str, Any]
    week: Mapping[int, Counted]
    """Its hours, where it holds whole weeks."""
    last: tuple[datetime, UUID] | None = None
    """The latest of the log's rows that it was made from."""


class PlanMaking:
    """The job that makes one version's plan."""

    def __init__(self, store: ArtifactStore, artifacts: ArtifactCache, prober: Prober) -> None:
        self._store = store
        self._artifacts = artifacts
        self._prober = prober

    async def __call__(self, claim: Claim) -> None:
        """Make the plan, unless it is there, and count what was logged before it.

        Raises:
            TryAgain: there is no sample, and the log holds too few rows yet.
        """
        version_id = UUID(claim.payload["version_id"])
        async with claim.database.reads() as session:
            version = await find_version_by_id(session, version_id)
            is_made = await session.get(ProfilePlan, version_id) is not None
        if version is None or is_made:
            return
        reference, refusal = await self._from_sample(claim, version)
        async with claim.database.writes(WORKER) as session:
            await hold_until_commit(session, plan_lock(version_id))
            reference = reference or await _from_first_rows(session, version)
            if reference is None:
                raise TryAgain(COLLECTING_SECONDS, refusal)
            await _keep(session, version, reference)

    async def _from_sample(self, claim: Claim, version: "Version") -> tuple[Reference | None, str | None]:
        """What the sample gives, or why it gives nothing; neither where there is none."""
        digest = _sample_of(version)
        if digest is None:
            return None, None
        async with claim.database.reads() as session:
            files = await files_of(session, version.id)
        directory = await self._artifacts.materialise(manifest_of(files), version.artifact_signature)
        sample = b"".join([block async for block in self._store.open_stream(digest)])
        try:
            made = await self._prober.profile_reference(
                directory,
                signature=version.signature,
                sample=sample,
                time_column=version.probe.get("reference_time"),
            )
        except Refusal as refusal:
            log.warning("reference_not_profiled", version=version.model_reference, reason=refusal.detail())
            return None, f"{refusal.detail()}; the first {FIRST_ROWS} rows that are logged are taken instead"
        plan = Plan.from_json(made.plan)
        week = {
            hour: Counted(rows, Profile.from_bytes(plan.layout, *of_hour))
            for hour, rows, of_hour in made.week
        }
        return Reference(ReferenceKind.SAMPLE, made.rows, plan, made.sections, made.order, week), None


def _sample_of(version: "Version") -> str | None:
    """The digest of the reference sample that a version was registered with."""
    digest: str | None = (version.probe.get("rows") or {}).get("reference")
    return digest


@dataclass(frozen=True)
class Awaited:
    """What a version that has no reference yet waits for.

    Attributes:
        has_sample: for a job to profile its sample; else for its first rows.
        trouble: what went wrong when that was tried last.
        is_given_up: the job failed too often to be tried again by itself.
    """

    has_sample: bool
    trouble: str | None
    is_given_up: bool


async def find_awaited(session: AsyncSession, version: "Version") -> Awaited:
    """Why a version has no reference yet."""
    job = await find_latest_job(session, plan_job(version.id))
    trouble = ((job and job.error) or "").partition("\n")[0][:MOST_TROUBLE]
    return Awaited(
        has_sample=_sample_of(version) is not None,
        trouble=trouble or None,
        is_given_up=job is not None and job.state == JobState.FAILED,
    )


async def _keep(session: AsyncSession, version: "Version", reference: Reference) -> None:
    first = insert(ProfilePlan).values(
        version_id=version.id, kind=reference.kind, rows=reference.rows, columns=reference.plan.to_json(),
        made_at=clock.now(), row_order=reference.order, **dict(zip(SECTIONS, reference.sections, strict=True)),
    )  # fmt: skip
    made = await session.scalar(first.on_conflict_do_nothing().returning(ProfilePlan.version_id))
    if made is None:
        return
    await add_to_week(session, version.id, REFERENCE, reference.week)
    await _count_afterwards(session, version, reference)
    announce(session, ReferenceProfiled(version.model_name, version.number, reference.kind, reference.rows))


async def _from_first_rows(session: AsyncSession, version: "Version") -> Reference | None:
    rows = (await session.execute(_select_scored(version).order_by(*_IN_TIME).limit(MOST_FIRST_ROWS))).all()
    if len(rows) < FIRST_ROWS:
        return None
    return await asyncio.to_thread(_freeze, rows, Signature.from_json(version.signature))


def _freeze(rows: Sequence[Row[Any]], signature: Signature) -> Reference:
    answered, seconds = _answered(rows, signature), np.array([int(row.at.timestamp()) for row in rows])
    plan = make_plan(signature, answered)
    profile = plan.reference(answered)
    order = row_order(plan, profile, answered, seconds).to_json()
    week = {hour: Counted(count, of_hour) for hour, count, of_hour in weekly(plan, [answered], seconds)}
    last = (rows[-1].at, rows[-1].id)
    return Reference(ReferenceKind.FIRST_ROWS, len(rows), plan, profile.to_bytes(), order, week, last)


async def _count_afterwards(session: AsyncSession, version: "Version", reference: Reference) -> None:
    """Count the rows that were logged before anybody could: all but those that the reference was made from."""
    query = _select_scored(version)
    if reference.last is not None:
        query = query.where(tuple_(*_IN_TIME) > tuple_(*reference.last))
    newest = query.order_by(*[column.desc() for column in _IN_TIME]).limit(MOST_COUNTED_AFTERWARDS)
    rows = (await session.execute(newest)).all()
    signature = Signature.from_json(version.signature)
    for place, alike in groupby(sorted(rows, key=_place_of), _place_of):
        counted = await asyncio.to_thread(_count, reference.plan, list(alike), signature)
        await add_to_profile(session, place, _SPOOL, counted)


def _count(plan: Plan, rows: Sequence[Row[Any]], signature: Signature) -> Counted:
    return Counted(len(rows), plan.profile(_answered(rows, signature)))


_IN_TIME = (PredictionRow.at, PredictionRow.id)


def _select_scored(version: "Version") -> Any:
    return select(PredictionRow).where(
        PredictionRow.model == version.model_name,
        PredictionRow.version_id == version.id,
        PredictionRow.features.is_not(None),
    ).with_only_columns(
        PredictionRow.at, PredictionRow.id, PredictionRow.environment, PredictionRow.arm, PredictionRow.shadow,
        PredictionRow.version_id, PredictionRow.features, PredictionRow.output, PredictionRow.confidence,
        PredictionRow.latency_ms,
    )  # fmt: skip


def _place_of(row: Row[Any]) -> Place:
    return Place(row.version_id, start_of_bucket(row.at), row.environment, row.arm or "", row.shadow)


def _answered(rows: Sequence[Row[Any]], signature: Signature) -> Answered:
    values = [row.features for row in rows]
    confidences = np.array([np.nan if row.confidence is None else row.confidence for row in rows], np.float64)
    latencies = np.array([row.latency_ms for row in rows], np.float64)
    return Answered(
        columns_of(None, values, signature.types), [row.output for row in rows], confidences, latencies
    )
