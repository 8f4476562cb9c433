"""The comprehensive health report: every part with its figures, and what is degraded and why."""

from datetime import datetime
from typing import Any

from fastapi import Request
from pydantic import ConfigDict, Field

import app
from app.core import clock
from app.core.access import Caller, Role, allows, caller_of
from app.core.edge import room
from app.core.health import Condition, Part
from app.core.wire import Outgoing
from app.system.probes import PartOut, worst_of

router = room("/system", "system")


class PartWhole(PartOut):
    """A part with the figures behind its condition."""

    figures: dict[str, Any]
    blocks_traffic: bool


class HealthReport(Outgoing):
    """How the service is, in all of its parts."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "condition": "degraded",
                "problems": ["worker: no worker leads: nothing is done by the clock"],
                "version": "0.1.0",
                "at": "2025-03-01T12:00:00Z",
                "parts": {
                    "database": {
                        "condition": "ok",
                        "reason": "",
                        "figures": {"latency_ms": 0.4, "server_version": "18.4"},
                        "blocks_traffic": False,
                    }
                },
            }
        }
    )

    condition: Condition
    problems: list[str] = Field(description="What is not well, and why.")
    version: str
    at: datetime
    parts: dict[str, PartWhole]


@router.get("/health", response_model=HealthReport, dependencies=[allows(Role.VIEWER)])
async def report_health(request: Request) -> Any:
    """Models, database, storage, prediction log, jobs, worker, leader, replicas and alert channels: what is degraded, and why."""
    parts: dict[str, Part] = await request.app.state.health.look()
    problems = [f"{name}: {part.reason}" for name, part in parts.items() if part.condition != Condition.OK]
    return {
        "condition": worst_of(parts),
        "problems": problems,
        "version": app.__version__,
        "at": clock.now(),
        "parts": parts | {"models": _as_seen_by(caller_of(request), parts["models"])},
    }


def _as_seen_by(caller: Caller, models: Part) -> Part:
    """The models' figures without those that the caller's key does not cover."""
    versions = models.figures["versions"]
    seen = {name: figures for name, figures in versions.items() if caller.sees(name.partition(":")[0])}
    return Part(models.condition, models.reason, {"versions": seen}, models.blocks_traffic)
