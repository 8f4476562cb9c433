"""What is well and what is not: each room adds its part, the probes and the health report read them."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from starlette.types import Scope


class Condition(StrEnum):
    """How a part is, from best to worst."""

    OK = "ok"
    DEGRADED = "degraded"
    DOWN = "down"


@dataclass(frozen=True)
class Part:
    """One part of the service: how it is, why, and the figures behind that."""

    condition: Condition
    reason: str = ""
    figures: dict[str, Any] = field(default_factory=dict)
    blocks_traffic: bool = False
    """Whether a load balancer should send requests elsewhere while this part is not ok."""


Check = Callable[[], Awaitable[Part]]


class Health:
    """The checks of one process, by the name of the part."""

    def __init__(self) -> None:
        self._checks: dict[str, Check] = {}

    def add(self, name: str, check: Check) -> None:
        """Add a part; checks must be quick and must not raise."""
        self._checks[name] = check

    async def look(self) -> dict[str, Part]:
        """Every part as it is now."""
        return {name: await check() for name, check in self._checks.items()}


def is_draining(scope: Scope) -> bool:
    """Whether the server that received this request is shutting down; it puts the event into each request's state."""
    draining: asyncio.Event | None = scope.get("state", {}).get("draining")
    return draining is not None and draining.is_set()
