"""One maker per row: what a test needs to exist before it begins."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.core import clock
from app.core.ids import new_id
from app.registry.actions import Draft, register_version
from app.registry.files import StoredFile
from app.registry.lifecycle import move_stage
from app.registry.rules import Stage
from app.registry.tables import GateReport, Version

SIGNATURE = {
    "inputs": [
        {"name": "x0", "type": "float", "nullable": False},
        {"name": "x1", "type": "float", "nullable": False},
    ],
    "task": "classification",
    "output": "integer",
    "classes": [0, 1],
}


def draft(**changes) -> Draft:
    digest = new_id().hex * 2
    return Draft(
        **{
            "artifact_digest": digest,
            "artifact_signature": b"signature",
            "files": (StoredFile("model.skops", digest, 1000),),
            "rows": (),
            "format": "skops",
            "framework": "scikit-learn",
            "algorithm": "LogisticRegression",
            "signature": SIGNATURE,
            "probe": {
                "sample_input": [[0.0, 0.0]],
                "sample_output": {"predictions": [0], "probabilities": None},
            },
            "parameters": {"C": 1.0},
            "metrics": {"accuracy": 0.9},
            "requirements": [],
            "creator": "tester",
        }
        | changes
    )


async def version(
    session: AsyncSession, name: str = "m", stage: Stage = Stage.VALIDATION, **changes
) -> Version:
    made = await register_version(session, name, draft(**changes))
    if stage in {Stage.STAGING, Stage.ARCHIVED}:
        await move_stage(session, made.id, stage, reason="made so")
    return made


async def gate_report(session: AsyncSession, version: Version, champion: Version | None) -> None:
    """A version has passed the gate to production."""
    report = {"goal": Stage.PRODUCTION, "passed": True, "checks": [], "at": clock.now()}
    session.add(GateReport(version_id=version.id, champion_id=champion and champion.id, **report))


def some_id() -> UUID:
    return new_id()
