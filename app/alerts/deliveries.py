"""Messages to channels: each a row whose id stays, and a durable job that sends it until it arrives or is given up."""

import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.alerts.facts import DeliveryGivenUp
from app.alerts.kinds import DeliveryState, Event
from app.alerts.queries import is_silenced, list_channel_names, lock_delivery
from app.alerts.rules import MOST_ATTEMPTS, pause_seconds
from app.alerts.tables import AlertRule, Delivery, Incident
from app.core import clock
from app.core.facts import announce
from app.core.ids import new_id
from app.core.jobs import enqueue

DELIVER, TELL = "deliver alert", "tell what was silenced"
QUEUE = "alerts"
"""Looks and deliveries wait for others' clocks and servers, so they have a queue of their own."""


@dataclass(frozen=True)
class Failure:
    """Why an attempt failed, in words that hold no secret."""

    problem: str
    is_final: bool = False
    """Whether another attempt can't help."""
    asked_seconds: float = 0
    """How long the other side asked to be left alone."""


async def tell_opening(session: AsyncSession, incident: Incident, rule: AlertRule) -> None:
    """Give the opening of an incident out for delivery, unless it was or is silenced."""
    if incident.told_at is not None or await is_silenced(session, incident.rule, incident.model):
        return
    incident.told_at = clock.now()
    await _tell(session, incident, Event.OPENED, await _channels_of(session, rule))


async def tell_end(session: AsyncSession, incident: Incident, rule: AlertRule | None) -> None:
    """Give the end of an incident out to where its opening was told; a silence holds no good news back."""
    if incident.told_at is not None:
        await _tell(session, incident, Event.RESOLVED, await _channels_of(session, rule))


async def _channels_of(session: AsyncSession, rule: AlertRule | None) -> list[str]:
    existing = await list_channel_names(session)
    if rule is None or rule.channels is None:
        return list(existing)
    return [name for name in existing if name in rule.channels]


async def _tell(session: AsyncSession, incident: Incident, event: Event, channels: list[str]) -> None:
    for channel in channels:
        await queue_delivery(session, channel, event, _data_of(incident), incident)


async def queue_delivery(
    session: AsyncSession,
    channel: str,
    event: Event,
    data: dict[str, Any],
    incident: Incident | None = None,
) -> Delivery:
    """Add a message and the job that sends it to this transaction."""
    now = clock.now()
    delivery = Delivery(
        id=new_id(),
        incident_id=incident and incident.id,
        model=incident and incident.model,
        channel=channel,
        event=event,
        body={"type": f"incident.{event}", "timestamp": _written(now), "data": data},
        made_at=now,
        next_at=now,
    )
    session.add(delivery)
    await session.flush()
    key = f"{DELIVER}:{delivery.id}"
    await enqueue(session, DELIVER, {"delivery_id": str(delivery.id)}, dedupe_key=key, queue=QUEUE)
    return delivery


def _written(at: datetime | None) -> str | None:
    return at.isoformat().replace("+00:00", "Z") if at else None


def _data_of(incident: Incident) -> dict[str, Any]:
    """What a message says of an incident."""
    return {
        "incident_id": str(incident.id),
        "fingerprint": incident.fingerprint,
        "rule": incident.rule,
        "signal": incident.signal,
        "severity": incident.severity,
        "subject": incident.subject,
        "model": incident.model,
        "value": incident.value,
        "worst": incident.worst,
        "comparison": incident.comparison,
        "threshold": incident.threshold,
        "evidence": incident.evidence,
        "opened_at": _written(incident.opened_at),
        "acknowledged_by": incident.acknowledged_by,
        "resolved_at": _written(incident.resolved_at),
        "resolved_by": incident.resolved_by,
        "resolve_note": incident.resolve_note,
    }


async def begin_attempt(session: AsyncSession, delivery_id: UUID) -> Delivery | None:
    """Count an attempt before it is made, so that one which kills the worker counts too; None when none is due."""
    delivery = await lock_delivery(session, delivery_id)
    if delivery is None or delivery.state is not DeliveryState.QUEUED:
        return None
    if delivery.attempts >= MOST_ATTEMPTS:
        _give_up(session, delivery, delivery.last_error or "every attempt was broken off")
        return None
    delivery.attempts += 1
    delivery.tried_at, delivery.next_at = clock.now(), None
    return delivery


async def settle_attempt(session: AsyncSession, delivery_id: UUID, failure: Failure | None) -> float | None:
    """Note how an attempt went; the seconds until the next, or None when there is none."""
    delivery = await lock_delivery(session, delivery_id)
    if delivery is None or delivery.state is not DeliveryState.QUEUED:
        return None
    if failure is None:
        delivery.state, delivery.settled_at, delivery.last_error = (
            DeliveryState.DELIVERED,
            clock.now(),
            None,
        )
        return None
    if failure.is_final or delivery.attempts >= MOST_ATTEMPTS:
        _give_up(session, delivery, failure.problem)
        return None
    return _put_off(delivery, failure)


def _put_off(delivery: Delivery, failure: Failure) -> float:
    chance = random.random()  # noqa: S311 - spreading load, not keeping a secret
    pause = pause_seconds(delivery.attempts, chance, asked_seconds=failure.asked_seconds)
    delivery.last_error = failure.problem
    delivery.next_at = clock.now() + timedelta(seconds=pause)
    return pause


def _give_up(session: AsyncSession, delivery: Delivery, problem: str) -> None:
    delivery.state, delivery.settled_at = DeliveryState.GIVEN_UP, clock.now()
    delivery.last_error, delivery.next_at = problem, None
    announce(session, DeliveryGivenUp(str(delivery.id), delivery.channel, delivery.attempts, problem))
