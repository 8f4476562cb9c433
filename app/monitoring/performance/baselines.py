"""What a version's performance is held against: its held-out rows, its stated metrics, or its own first labels."""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import structlog
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.artifacts.cache import ArtifactCache
from app.artifacts.store import ArtifactStore
from app.core import clock
from app.core.errors import Refusal
from app.core.facts import get_fact
from app.core.jobs import WORKER, Claim, enqueue
from app.evidence.outcome_sums import HOUR
from app.evidence.outcome_windows import Cohort, count_labelled, read_realised
from app.evidence.realised import Labelled, Realised, has_labels, realise, scale_of
from app.evidence.rules import DETECTED, Target, read_actual
from app.monitoring.kinds import BaselineKind
from app.monitoring.performance.measuring import measure
from app.monitoring.performance.rules import Told, choose_metric, name_here
from app.monitoring.tables import PerformanceBaseline
from app.registry.files import manifest_of
from app.registry.queries import files_of, find_version, find_version_by_id
from app.runtimes.probe import Prober
from app.runtimes.reports import Answers
from app.runtimes.schema import Signature, Task

if TYPE_CHECKING:
    from app.registry.tables import Version

log = structlog.get_logger()

BASELINE, BASELINE_REGISTERED = "performance_baseline", "baseline_registered"
FIRST_LABELS = 500
"""So many know an accuracy of 90 % to 2.6 percentage points."""


@dataclass(frozen=True)
class Baseline:
    """What a version's performance is held against.

    Attributes:
        labelled: how many rows it was made from; 0 for what was stated.
        until: only later rows are held against it.
        realised: its sums; None for what was stated.
        stated: metrics that were given.
    """

    kind: BaselineKind
    labelled: int
    made_at: datetime
    until: datetime | None
    realised: Realised | None
    stated: dict[str, float]

    def tell(self, signature: Signature, alpha: float, *, design_effect: float = 1.0) -> Told:
        """Its metrics with intervals that miss in a share alpha of the times, in a thread.

        First labels come in the bursts of their stream; held-out rows are taken to be drawn one by one.
        """
        if self.realised is not None:
            effect = design_effect if self.kind == BaselineKind.FIRST_LABELS else 1.0
            return measure(signature, self.realised, alpha, design_effect=effect).metrics
        from app.stats.intervals import known  # noqa: PLC0415 - and SciPy with it

        return {name: known(value) for name, value in self.stated.items()}


async def find_baseline(session: AsyncSession, version: "Version") -> Baseline | None:
    """The baseline of a version, once it has one."""
    row = await session.get(PerformanceBaseline, version.id)
    if row is not None:
        sums = await asyncio.to_thread(Realised.from_json, row.labelled, row.labelled, row.sums)
        return Baseline(row.kind, row.labelled, row.made_at, row.until, sums, {})
    stated = {name_here(name): float(value) for name, value in version.metrics.items() if _is_number(value)}
    if choose_metric(Task(version.signature["task"]), stated) is None:
        return None
    return Baseline(BaselineKind.STATED, 0, version.made_at, None, None, stated)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


async def freeze_first_labels(
    session: AsyncSession, version: "Version", cohort: Cohort, *, before: datetime
) -> None:
    """Make the baseline of a version without any from its first labels, once there are enough that are mature.

    The first whole hours are taken that hold as many together.
    """
    counted, labelled = await count_labelled(session, cohort, minutes=HOUR), 0
    for hour, more in counted:
        labelled, until = labelled + more, hour + timedelta(minutes=HOUR)
        if until > before:
            return
        if labelled >= FIRST_LABELS:
            first = await read_realised(session, cohort, since=counted[0][0], until=until)
            await _keep(session, version.id, BaselineKind.FIRST_LABELS, first, until)
            return


async def _keep(
    session: AsyncSession, version_id: UUID, kind: BaselineKind, sums: Realised, until: datetime | None = None
) -> None:
    first = insert(PerformanceBaseline).values(
        version_id=version_id, kind=kind, labelled=sums.labelled, sums=sums.to_json(), until=until, made_at=clock.now()
    )  # fmt: skip
    await session.execute(first.on_conflict_do_nothing())


def held_out_rows(version: "Version") -> tuple[str, str] | None:
    """The digest of the rows with a true answer that a version was registered with, and the column that holds it."""
    digest, target = (version.probe.get("rows") or {}).get("evaluation"), version.probe.get("target")
    return (digest, target) if digest and target else None


async def baseline_registered(claim: Claim) -> None:
    """Have a version that was registered with held-out rows answer them."""
    async with claim.database.writes(WORKER) as session:
        fact = await get_fact(session, UUID(claim.payload["fact_id"]))
        version = await find_version(session, fact.body["model"], fact.body["version"])
        if version is not None and held_out_rows(version):
            await ask_for_baseline(session, version.id)


async def ask_for_baseline(session: AsyncSession, version_id: UUID) -> None:
    """Have the baseline of a version made, unless that is under way."""
    await enqueue(session, BASELINE, {"version_id": str(version_id)}, dedupe_key=f"{BASELINE} {version_id}")


class BaselineMaking:
    """The job that has one version answer its held-out rows."""

    def __init__(self, store: ArtifactStore, artifacts: ArtifactCache, prober: Prober) -> None:
        self._store = store
        self._artifacts = artifacts
        self._prober = prober

    async def __call__(self, claim: Claim) -> None:
        """Keep what comes true of the held-out rows; a version that can't answer them goes without."""
        version_id = UUID(claim.payload["version_id"])
        async with claim.database.reads() as session:
            version = await find_version_by_id(session, version_id)
            is_made = await session.get(PerformanceBaseline, version_id) is not None
        if version is None or is_made:
            return
        try:
            sums = await self._answer(claim, version)
        except Refusal as refusal:
            log.warning("baseline_not_made", version=version.model_reference, reason=refusal.detail())
            return
        if sums.labelled:
            async with claim.database.writes(WORKER) as session:
                await _keep(session, version_id, BaselineKind.EVALUATION, sums)

    async def _answer(self, claim: Claim, version: "Version") -> Realised:
        rows = held_out_rows(version)
        assert rows is not None, "only versions with held-out rows are asked"
        async with claim.database.reads() as session:
            files = await files_of(session, version.id)
        directory = await self._artifacts.materialise(manifest_of(files), version.artifact_signature)
        table = b"".join([block async for block in self._store.open_stream(rows[0])])
        answers = await self._prober.answer_table(
            directory, signature=version.signature, table=table, target=rows[1], with_probabilities=True
        )
        for left_out in answers.left_out:
            log.warning("baseline_without_rows", version=version.model_reference, reason=left_out)
        return await asyncio.to_thread(sum_answers, Signature.from_json(version.signature), answers)


def sum_answers(signature: Signature, answers: Answers) -> Realised:
    """What came true of held-out rows; a row whose truth is no answer of such a model is left out."""
    known = Target(signature.classes if has_labels(signature) else None, signature.output.value)
    target = DETECTED if signature.is_detector else known
    read = [read_actual(actual, target) for actual in answers.truth]
    places = [place for place, (_, problem) in enumerate(read) if not problem]
    actual, predicted = [read[place][0] for place in places], [answers.prediction[place] for place in places]
    odds = answers.probabilities
    probabilities = [odds[place] if odds else None for place in places]
    labelled = Labelled(actual, predicted, probabilities, [None] * len(places))
    return realise(signature, labelled, scale_of([*actual, *predicted]))
