"""The gates before staging and before production: what is tried, and what is kept of it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from app.artifacts.cache import ArtifactCache
from app.artifacts.store import ArtifactStore
from app.core import clock
from app.core.access import Caller, Role
from app.core.database import Database, Reading
from app.core.errors import Refusal
from app.core.facts import announce
from app.registry import gate_checks as checks
from app.registry.errors import ForceNeedsAdmin, GateClosed, IllegalMove
from app.registry.facts import GateJudged
from app.registry.files import manifest_of
from app.registry.gate_checks import Check, Evaluation
from app.registry.queries import PRODUCTION, files_of, get_model_by_id, get_named_version, get_version_by_id
from app.registry.rules import Stage, may_move
from app.registry.succession import Standing, get_standing
from app.registry.tables import GateReport, Model, Version, VersionFile
from app.runtimes.probe import Prober
from app.runtimes.reports import Answers


@dataclass(frozen=True)
class _Candidate:
    """A version at the gate, with all that is judged beside it."""

    model: Model
    version: Version
    files: tuple[VersionFile, ...]
    champion: Version | None
    champion_files: tuple[VersionFile, ...]


class Gatekeeper:
    """Tries versions at the gates. Scoring happens in the prober's child process, outside any transaction."""

    def __init__(
        self, database: Database, store: ArtifactStore, artifacts: ArtifactCache, prober: Prober
    ) -> None:
        self._database = database
        self._store = store
        self._artifacts = artifacts
        self._prober = prober

    async def find_standing(self, reference: str, goal: Stage, environment: str = PRODUCTION) -> Standing:
        """How the version that a reference names stands at the gate before a stage.

        Raises:
            BadReference, ModelNotFound, VersionNotFound, VersionNeeded.
        """
        return await get_standing(self._database, reference, goal, environment)

    async def pass_gate(
        self,
        standing: Standing,
        goal: Stage,
        *,
        caller: Caller,
        force: bool = False,
        reason: str = "",
        request_id: str | None = None,
    ) -> None:
        """Try a version at the gate before a stage, its report being kept whatever it says.

        A version that passed the gate to production against the present champion is not tried again.

        Raises:
            IllegalMove: its stage does not lead to staging.
            ForceNeedsAdmin: `force` without the role or the reason for it.
            GateClosed: a check failed, and it was not forced.
        """
        if force and (caller.role < Role.ADMIN or not reason.strip()):
            raise ForceNeedsAdmin(caller.role.label)
        if goal == Stage.PRODUCTION and standing.has_passed:
            return
        async with self._database.reads() as session:
            candidate = await _read_candidate(session, standing)
        _require_legal(candidate.version, goal, force=force)
        findings = await self._try(candidate)
        failed = [check for check in findings if check.passed is False]
        await self._keep(
            candidate, goal, findings, caller=caller, forced=force and bool(failed), request_id=request_id
        )
        if failed and not force:
            raise GateClosed(candidate.version.model_reference, goal, [check.to_json() for check in failed])

    async def pass_gate_once(
        self, reference: str, *, caller: Caller, environment: str, force: bool, reason: str
    ) -> None:
        """Try a version at the gate to production, unless it has been there.

        Raises:
            as `find_standing` and `pass_gate`.
        """
        async with self._database.reads() as session:
            version = await get_named_version(session, reference, environment)
        if version.stage not in {Stage.PRODUCTION, Stage.DEPRECATED}:
            standing = await self.find_standing(reference, Stage.PRODUCTION, environment)
            await self.pass_gate(standing, Stage.PRODUCTION, caller=caller, force=force, reason=reason)

    async def _try(self, candidate: _Candidate) -> list[Check]:
        version, gates = candidate.version, candidate.model.gates
        findings = [
            *checks.check_metrics(version.metrics, gates.get("metrics", {})),
            checks.check_latency(version.latency_ms, gates.get("max_latency_ms")),
            checks.check_memory(version.memory_bytes, gates.get("max_memory_mb")),
            checks.check_too_good(version.metrics, gates.get("too_good", 0.995)),
            await self._try_sample(version, candidate.files),
            *await self._try_edge_cases(version, candidate.files, gates.get("edge_cases", [])),
            *await self._try_held_out_rows(candidate),
        ]
        return [finding for finding in findings if finding is not None]

    async def _directory(self, version: Version, files: tuple[VersionFile, ...]) -> Any:
        return await self._artifacts.materialise(manifest_of(files), version.artifact_signature)

    async def _try_sample(self, version: Version, files: tuple[VersionFile, ...]) -> Check:
        async def load_and_compare() -> Check:
            await self._prober.check(
                await self._directory(version, files),
                signature=version.signature,
                sample_input=version.probe["sample_input"],
                sample_output=version.probe["sample_output"],
            )
            rows = len(version.probe["sample_input"])
            return Check(
                "artifact",
                passed=True,
                finding=f"loads, verified, and answers its {rows} stored rows as before",
            )

        check: Check = await _attempt("artifact", load_and_compare)
        return check

    async def _try_edge_cases(
        self, version: Version, files: tuple[VersionFile, ...], cases: list[dict[str, Any]]
    ) -> list[Check]:
        async def answer_all() -> list[Check]:
            answers = await self._prober.answer_instances(
                await self._directory(version, files),
                signature=version.signature,
                instances=[case["input"] for case in cases],
            )
            return [
                checks.check_edge_case(i, case["prediction"], found, case["tolerance"])
                for i, (case, found) in enumerate(zip(cases, answers, strict=True), 1)
            ]

        if not cases:
            return []
        found = await _attempt("edge cases", answer_all)
        return found if isinstance(found, list) else [found]

    async def _try_held_out_rows(self, candidate: _Candidate) -> list[Check]:
        version = candidate.version
        digest, target = version.probe.get("rows", {}).get("evaluation"), version.probe.get("target")
        if digest is None or target is None:
            return [
                Check(
                    "held-out rows",
                    None,
                    "none were registered: send `evaluation` and `target` with the version",
                )
            ]

        async def judge() -> list[Check]:
            rows = b"".join([block async for block in self._store.open_stream(digest)])
            answers = await self._answer(version, candidate.files, rows, target)
            return [
                *(Check("held-out rows", None, left_out) for left_out in answers.left_out),
                *checks.check_labels(answers.truth, version.signature.get("classes")),
                *await self._judge_leaks(version, answers),
                *_judge_fairness(candidate.model, answers),
                *await self._judge_rival(candidate, rows, answers),
            ]

        found = await _attempt("held-out rows", judge)
        return found if isinstance(found, list) else [found]

    async def _answer(
        self, version: Version, files: tuple[VersionFile, ...], rows: bytes, target: str
    ) -> Answers:
        return await self._prober.answer_table(
            await self._directory(version, files), signature=version.signature, table=rows, target=target
        )

    async def _judge_leaks(self, version: Version, answers: Answers) -> list[Check]:
        found = [checks.check_copied_target(answers.inputs, answers.truth)]
        seen = [tuple(map(str, row)) for row in version.probe["sample_input"]]
        held_out = [tuple(map(str, row)) for row in zip(*answers.inputs.values(), strict=True)]
        return (
            [*found, checks.check_shared_rows(seen, held_out)]
            if version.probe["rows"].get("reference")
            else found
        )

    async def _judge_rival(self, candidate: _Candidate, rows: bytes, answers: Answers) -> list[Check]:
        champion, target = candidate.champion, candidate.version.probe["target"]
        if champion is None:
            return [Check("against production", None, "nothing is in production yet")]

        async def compare() -> Check:
            rival = await self._answer(champion, candidate.champion_files, rows, target)
            return checks.check_against_champion(
                _evaluation(candidate.version, answers),
                _evaluation(champion, rival),
                champion_name=champion.model_reference,
            )

        return [await _attempt(f"against {champion.model_reference}", compare)]

    async def _keep(
        self,
        candidate: _Candidate,
        goal: Stage,
        findings: list[Check],
        *,
        caller: Caller,
        forced: bool,
        request_id: str | None,
    ) -> None:
        failed = [check.check for check in findings if check.passed is False]
        forced_by = caller.name if forced else None
        version = candidate.version
        async with self._database.writes(caller.actor(request_id)) as session:
            session.add(
                GateReport(
                    version_id=version.id,
                    goal=goal,
                    passed=not failed,
                    forced_by=forced_by,
                    champion_id=candidate.champion.id if candidate.champion else None,
                    checks=[check.to_json() for check in findings],
                    at=clock.now(),
                )
            )
            announce(
                session, GateJudged(version.model_name, version.number, goal, not failed, failed, forced_by)
            )


async def _read_candidate(session: Reading, standing: Standing) -> _Candidate:
    version = await get_version_by_id(session, standing.version_id)
    rival = await get_version_by_id(session, standing.rival_id) if standing.rival_id else None
    return _Candidate(
        await get_model_by_id(session, version.model_id),
        version,
        tuple(await files_of(session, version.id)),
        rival,
        tuple(await files_of(session, rival.id)) if rival else (),
    )


def _require_legal(version: Version, goal: Stage, *, force: bool) -> None:
    if goal == Stage.STAGING and not may_move(version.stage, goal, force=force):
        raise IllegalMove(version.model_reference, version.stage, goal, ["staging, from validation"])


async def _attempt(label: str, work: Callable[[], Awaitable[Any]]) -> Any:
    """What a check finds, a refusal on its way being a failed check."""
    try:
        return await work()
    except Refusal as refusal:
        return Check(label, passed=False, finding=str(refusal))


def _evaluation(version: Version, answers: Answers) -> Evaluation:
    return Evaluation(answers.truth, answers.prediction, version.signature.get("task") == "classification")


def _judge_fairness(model: Model, answers: Answers) -> list[Check]:
    found = []
    for rule in model.gates.get("fairness", []):
        groups = answers.groups.get(rule["column"])
        if groups is None:
            found.append(
                Check(
                    f"fairness {rule['column']}",
                    passed=False,
                    finding="the held-out rows have no such column",
                )
            )
            continue
        found.append(
            checks.check_fairness(
                groups,
                answers.prediction,
                column=rule["column"],
                favourable=rule["favourable"],
                max_gap=rule["max_gap"],
            )
        )
    return found
