"""The index of the model repository: every model that a caller may see, and what of it is in this process's memory."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.datastructures import State

from app.core.access import Caller
from app.registry.queries import references_of
from app.registry.search import Filters, select_models
from app.runtimes.cache import Phase, VersionState

_PAGE = 200
_STATES = {Phase.READY: "READY", Phase.FAILED: "UNAVAILABLE"}
_LOADING = "LOADING"

Entry = dict[str, str]
_Standing = tuple[str, str]


async def index_models(state: State, caller: Caller) -> list[Entry]:
    """An entry for each version that is routed or in memory, and one for each other model."""
    states = state.models.states()
    routed = {version_id for route in state.routes.all() for version_id in route.version_ids}
    async with state.database.reads() as session:
        references = await references_of(session, states.keys() | routed)
        models = await _names_of_models(session, caller)
    standings = {reference: _standing(states.get(key)) for key, reference in references.items()}
    entries = list(_entries_of_versions(standings, frozenset(models)))
    indexed = {entry["name"] for entry in entries}
    return entries + [_unserved(name) for name in models if name not in indexed]


async def _names_of_models(session: AsyncSession, caller: Caller) -> list[str]:
    names: list[str] = []
    while page := (await session.scalars(_select_names(caller, names[-1] if names else None))).all():
        names += page
    return names


def _select_names(caller: Caller, after: str | None) -> Select[Any]:
    models = select_models(caller, Filters(), after, _PAGE)
    return models.with_only_columns(models.selected_columns.name)


def _entries_of_versions(standings: dict[str, _Standing], models: frozenset[str]) -> Iterator[Entry]:
    for reference, (state, reason) in sorted(standings.items()):
        name, _, number = reference.partition(":")
        if name in models:
            yield {"name": name, "version": number, "state": state, "reason": reason}


def _standing(state: VersionState | None) -> _Standing:
    return (_LOADING, "") if state is None else (_STATES.get(state.phase, _LOADING), state.reason)


def _unserved(name: str) -> Entry:
    return {"name": name, "version": "", "state": "UNAVAILABLE", "reason": "no version of it serves"}
