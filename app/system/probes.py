"""What orchestrators, load balancers and Prometheus ask; all of it without a key."""

import asyncio
from typing import Any

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import ConfigDict
from starlette.responses import PlainTextResponse

import app
from app.core.access import anyone
from app.core.health import Condition, Health, Part, is_draining
from app.core.telemetry import exposition
from app.core.wire import Outgoing
from app.system.metrics import read_figures

router = APIRouter(tags=["probes"], dependencies=[anyone()])
DRAINING = "this process is shutting down"


class PartOut(Outgoing):
    """How a part is, and why it is not well if so."""

    condition: Condition
    reason: str


class ReadinessOut(Outgoing):
    """Whether this process wants traffic."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "ready": False,
                "reasons": ["models: breast-cancer:2 is loading"],
                "parts": {"models": {"condition": "down", "reason": "breast-cancer:2 is loading"}},
            }
        }
    )

    ready: bool
    reasons: list[str]
    parts: dict[str, PartOut]


class HealthOut(Outgoing):
    """How the service is."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "condition": "degraded",
                "parts": {
                    "database": {"condition": "ok", "reason": ""},
                    "log": {"condition": "degraded", "reason": "the log is 75 s behind"},
                },
            }
        }
    )

    condition: Condition
    parts: dict[str, PartOut]


class ReleaseOut(Outgoing):
    """Which release answers."""

    model_config = ConfigDict(json_schema_extra={"example": {"name": "switchyard", "version": "0.1.0"}})

    name: str
    version: str


def worst_of(parts: dict[str, Part]) -> Condition:
    """The whole's condition: down only when it can't take traffic."""
    if any(blocks(part) for part in parts.values()):
        return Condition.DOWN
    return (
        Condition.OK if all(part.condition == Condition.OK for part in parts.values()) else Condition.DEGRADED
    )


def blocks(part: Part) -> bool:
    """Whether traffic should go elsewhere because of this part."""
    return part.blocks_traffic and part.condition != Condition.OK


@router.get("/livez", response_class=PlainTextResponse)
async def tell_alive() -> str:
    """Whether the process turns its event loop; touches nothing else. If this fails, restart it."""
    return "ok"


@router.get(
    "/readyz",
    response_model=ReadinessOut,
    responses={503: {"model": ReadinessOut, "description": "Send traffic elsewhere; `reasons` says why."}},
)
async def tell_ready(request: Request, response: Response) -> Any:
    """Whether to send traffic here: every version that routes name is warm, and the process is not shutting down."""
    health: Health = request.app.state.health
    parts = await health.look()
    reasons = [f"{name}: {part.reason}" for name, part in parts.items() if blocks(part)]
    if is_draining(request.scope):
        reasons.append(DRAINING)
    response.status_code = 503 if reasons else 200
    return {"ready": not reasons, "reasons": reasons, "parts": parts}


@router.get("/health", response_model=HealthOut)
async def tell_health(request: Request) -> Any:
    """How every part is. It always answers 200: `/readyz` is what decides about traffic."""
    parts = await request.app.state.health.look()
    return {"condition": worst_of(parts), "parts": parts}


@router.get("/version", response_model=ReleaseOut)
async def tell_version() -> Any:
    """Which release of Switchyard this is."""
    return {"name": "switchyard", "version": app.__version__}


@router.get(
    "/metrics",
    response_class=PlainTextResponse,
    responses={200: {"content": {"text/plain": {"example": 'http_requests_total{method="GET"} 42.0\n'}}}},
)
async def read_metrics(request: Request) -> Response:
    """The metrics of every process of this replica, for Prometheus. It holds model names, but no inputs or answers."""
    state = request.app.state
    figures = await read_figures(state.watch, state.settings)
    return Response(await asyncio.to_thread(exposition, figures), media_type=CONTENT_TYPE_LATEST)
