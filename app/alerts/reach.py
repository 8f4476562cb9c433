"""What rules and silences say that comes to nothing for now: it is accepted, and the answer tells."""

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from app.alerts.tables import AlertRule, Silence
from app.registry.search import names_among

NO_CHANNEL = "It names no channel: its incidents are listed, and nobody is told of them."

Warnings = Mapping[str | None, list[str]]


async def warn_of_models(session: AsyncSession, rows: Iterable[AlertRule | Silence]) -> Warnings:
    """By the name of each model that a row names, what to know of it: a list with nothing, of one that exists."""
    named = {row.model for row in rows if row.model is not None}
    known = await names_among(session, named)
    return {None: []} | {name: [] if name in known else [_unknown(name)] for name in named}


def warnings_of(rule: AlertRule, of_models: Warnings) -> Sequence[str]:
    """What to know of a rule."""
    return [*of_models[rule.model], *([NO_CHANNEL] if rule.channels == [] else [])]


def _unknown(name: str) -> str:
    return f"There is no model {name!r} yet: until there is, this is about nothing. Check the name if there should be."
