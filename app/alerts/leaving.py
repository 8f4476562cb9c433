"""Incidents of models that left production: routes decide that and not traffic, so a mere pause ends nothing."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from app.alerts.judging import end_if_open
from app.alerts.queries import list_open_incidents
from app.alerts.rules import TOLD_BY_FACTS, Signal
from app.alerts.tables import AlertRule, Incident
from app.registry.search import names_without_versions
from app.traffic.queries import find_unrouted

OF_PRODUCTION = frozenset(Signal) - TOLD_BY_FACTS.keys()
"""The signals about what a model does in production; it is read on the clock."""
NO_ROUTE = "no route names a version of the model any more"
NO_VERSION = "the model has no version any more"

Underway = Callable[[AsyncSession, Collection[str]], Awaitable[Collection[str]]]
"""Gives those of some models of which a version is on its way to production."""


async def none_underway(_session: AsyncSession, _models: Collection[str]) -> Collection[str]:
    """What is known of deployments where there are none."""
    return ()


@dataclass(frozen=True)
class Departure:
    """That a model is in production no more, why, and since when if it may come back."""

    note: str
    at: datetime | None = None


async def find_departed(session: AsyncSession, models: Collection[str]) -> Mapping[str, Departure]:
    """Those of these models that left production; what never was there, and is still registered, has not."""
    unrouted = {
        model: Departure(NO_ROUTE, at) for model, at in (await find_unrouted(session, models)).items()
    }
    return unrouted | {
        model: Departure(NO_VERSION) for model in await names_without_versions(session, models)
    }


async def end_what_left(session: AsyncSession, rule: AlertRule, underway: Underway) -> None:
    """Resolve a rule's open incidents of models that left production, where that is what the rule is about."""
    if rule.signal not in OF_PRODUCTION | {Signal.DEPLOYMENT_FAILURE}:
        return
    found = [each for each in await list_open_incidents(session, rule.name) if each.model is not None]
    departed = await find_departed(session, {each.model for each in found if each.model})
    busy = await underway(session, departed.keys()) if departed else ()
    for incident in found:
        departure = departed.get(incident.model or "")
        if departure is not None and _is_over(incident, departure, is_underway=incident.model in busy):
            await end_if_open(session, incident, rule, note=departure.note)


def _is_over(incident: Incident, departure: Departure, *, is_underway: bool) -> bool:
    """A deployment that failed since the model left is one that was to bring it back: that is not over."""
    if incident.signal in OF_PRODUCTION:
        return True
    return not is_underway and (departure.at is None or departure.at > incident.updated_at)
