"""Signals that are read on the clock: a reader for each, by name. Rooms beside this one bring theirs through the worker."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from app.alerts.rules import FEWEST_ROWS, Signal
from app.core.database import Reading
from app.evidence.queries import summarise_answers

Reader = Callable[[Reading, datetime, datetime], Awaitable[Mapping[str, float]]]
"""Gives a signal's value from one time to another for each model that has one; who has too little data is left out."""
Namer = Callable[[AsyncSession, str, datetime, datetime], Awaitable[Sequence[str]]]
"""Names what to know first of a model whose signal was unwell from one time to another: see `named_as`."""


async def read_error_rates(session: Reading, since: datetime, until: datetime) -> Mapping[str, float]:
    """The share of rows that got no prediction, of models with enough rows to speak of a share."""
    answered = await summarise_answers(session, since, until)
    return {model: each.error_share for model, each in answered.items() if each.rows >= FEWEST_ROWS}


async def read_latencies(session: Reading, since: datetime, until: datetime) -> Mapping[str, float]:
    """The latency that one row in twenty exceeds, in milliseconds."""
    answered = await summarise_answers(session, since, until)
    return {model: each.latency_ms_p95 for model, each in answered.items()}


def named_as(signal: Signal) -> str:
    """The member of an incident's evidence that has what a signal's namer names."""
    return "changes" if signal is Signal.REGIME_CHANGES else "features_to_look_at"


FROM_THE_LOG: Mapping[Signal, Reader] = {
    Signal.ERROR_RATE: read_error_rates,
    Signal.LATENCY_MS: read_latencies,
}
"""The signals that the prediction log tells by itself."""
