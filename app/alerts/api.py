"""Rules, incidents and silences over HTTP."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any
from uuid import UUID

from fastapi import Path, Query, Request, status

from app.alerts import actions, errors, queries
from app.alerts.reach import warn_of_models, warnings_of
from app.alerts.rules import DEFAULTS, Severity
from app.alerts.schemas import (
    DeliveryOut,
    IncidentOut,
    ModelName,
    Name,
    Note,
    RuleChange,
    RuleOrder,
    RuleOut,
    SilenceOrder,
    SilenceOut,
    Terms,
    WholeIncidentOut,
)
from app.alerts.tables import AlertRule, Silence
from app.core.access import ModelNotFound, Role, allows, caller_of, require_sight
from app.core.edge import Reads, Writes, room
from app.core.errors import FieldProblem
from app.core.paging import Page, Paged
from app.core.problems import problems
from app.core.scope import KeyTooNarrow, for_every_model, require_every_model

router = room("/system", "alerts")
RuleName = Annotated[Name, Path(examples=["latency"])]
MayChange = [allows(Role.ADMIN), for_every_model()]
_HAVE_DEFAULTS = frozenset(DEFAULTS)


async def _shown(session: Any, rule: AlertRule) -> RuleOut:
    return (await _all_shown(session, [rule]))[0]


async def _all_shown(session: Any, rules: Sequence[AlertRule]) -> list[RuleOut]:
    of_models = await warn_of_models(session, rules)
    return [RuleOut.of(rule, _HAVE_DEFAULTS, warnings_of(rule, of_models)) for rule in rules]


async def _silences_shown(session: Any, silences: Sequence[Silence]) -> list[SilenceOut]:
    of_models = await warn_of_models(session, silences)
    return [SilenceOut.of(silence, of_models[silence.model]) for silence in silences]


@router.get("/alert-rules", response_model=Page[RuleOut], dependencies=[allows(Role.VIEWER)])
async def list_alert_rules(request: Request, session: Reads, paging: Paged) -> Any:
    """Alert rules by name: those for every model, and those about models that the caller may see."""
    query = queries.select_rules(caller_of(request), paging.after, paging.limit)
    rules, following = paging.cut((await session.scalars(query)).all(), lambda rule: rule.name)
    return {"items": await _all_shown(session, rules), "next": following}


@router.post(
    "/alert-rules",
    status_code=status.HTTP_201_CREATED,
    response_model=RuleOut,
    dependencies=MayChange,
    responses=problems(errors.AlertRuleExists, FieldProblem, KeyTooNarrow),
)
async def make_alert_rule(order: RuleOrder, session: Writes) -> Any:
    """Have a rule hold from now on."""
    return await _shown(session, await actions.make_rule(session, order.name, order.terms()))


@router.get(
    "/alert-rules/{rule}",
    response_model=RuleOut,
    dependencies=[allows(Role.VIEWER)],
    responses=problems(errors.AlertRuleNotFound),
)
async def get_alert_rule(rule: RuleName, request: Request, session: Reads) -> Any:
    """An alert rule."""
    return await _shown(session, await queries.get_rule(session, rule, caller_of(request)))


@router.put(
    "/alert-rules/{rule}",
    response_model=RuleOut,
    dependencies=MayChange,
    responses=problems(errors.AlertRuleNotFound, FieldProblem, KeyTooNarrow),
)
async def replace_alert_rule(rule: RuleName, terms: Terms, session: Writes) -> Any:
    """Give a rule other terms; what is left out has its default."""
    return await _shown(session, await actions.change_rule(session, rule, terms.terms()))


@router.patch(
    "/alert-rules/{rule}",
    response_model=RuleOut,
    dependencies=MayChange,
    responses=problems(errors.AlertRuleNotFound, FieldProblem, KeyTooNarrow),
)
async def change_alert_rule(rule: RuleName, change: RuleChange, session: Writes) -> Any:
    """Change some terms of a rule; the others stay."""
    held = await queries.lock_rule(session, rule)
    return await _shown(
        session, await actions.change_rule(session, rule, replace(held.terms, **change.given()))
    )


@router.delete(
    "/alert-rules/{rule}",
    status_code=status.HTTP_204_NO_CONTENT,
    dependencies=MayChange,
    responses=problems(errors.AlertRuleNotFound, KeyTooNarrow),
)
async def delete_alert_rule(rule: RuleName, session: Writes) -> None:
    """Have a rule hold no more; its open incidents are resolved."""
    await actions.delete_rule(session, rule)


@router.post(
    "/alert-rules/{rule}/reset",
    response_model=RuleOut,
    dependencies=MayChange,
    responses=problems(errors.NoDefaultRule, KeyTooNarrow),
)
async def reset_alert_rule(rule: RuleName, session: Writes) -> Any:
    """Give a rule that is there from the start its first terms again, even when it was deleted."""
    return await _shown(session, await actions.reset_rule(session, rule))


@router.get("/incidents", response_model=Page[IncidentOut], dependencies=[allows(Role.VIEWER)])
async def list_incidents(
    request: Request,
    session: Reads,
    paging: Paged,
    is_open: Annotated[
        bool | None, Query(alias="open", description="Open ones only, or resolved ones.")
    ] = None,
    severity: Severity | None = None,
    rule: Name | None = None,
    model: Annotated[ModelName | None, Query()] = None,
) -> Any:
    """Incidents, newest first."""
    query = queries.select_incidents(
        caller_of(request),
        is_open=is_open,
        severity=severity,
        rule=rule,
        model=model,
        after=paging.after,
        limit=paging.limit,
    )
    rows, following = paging.cut((await session.scalars(query)).all(), lambda row: str(row.id))
    return {"items": [IncidentOut.of(row) for row in rows], "next": following}


@router.get(
    "/incidents/{incident_id}",
    response_model=WholeIncidentOut,
    dependencies=[allows(Role.VIEWER)],
    responses=problems(errors.IncidentNotFound),
)
async def get_incident(incident_id: UUID, request: Request, session: Reads) -> Any:
    """An incident with what was told of it, where, and how that went."""
    incident = await queries.get_incident(session, incident_id, caller_of(request))
    told = await queries.deliveries_of(session, incident_id)
    return WholeIncidentOut.of(incident, deliveries=[DeliveryOut.of(row) for row in told])


@router.post(
    "/incidents/{incident_id}/acknowledge",
    response_model=IncidentOut,
    dependencies=[allows(Role.OPERATOR)],
    responses=problems(errors.IncidentNotFound, errors.IncidentIsResolved, errors.AlreadyAcknowledged),
)
async def acknowledge_incident(incident_id: UUID, note: Note, request: Request, session: Writes) -> Any:
    """Say that somebody sees to an incident."""
    caller = caller_of(request)
    return IncidentOut.of(await actions.acknowledge_incident(session, incident_id, caller, note.note))


@router.post(
    "/incidents/{incident_id}/resolve",
    response_model=IncidentOut,
    dependencies=[allows(Role.OPERATOR)],
    responses=problems(errors.IncidentNotFound, errors.IncidentIsResolved),
)
async def resolve_incident(incident_id: UUID, note: Note, request: Request, session: Writes) -> Any:
    """Say that an incident is over; the cool-down of its rule begins."""
    caller = caller_of(request)
    return IncidentOut.of(await actions.resolve_incident(session, incident_id, caller, note.note))


@router.get("/silences", response_model=Page[SilenceOut], dependencies=[allows(Role.VIEWER)])
async def list_silences(
    request: Request,
    session: Reads,
    paging: Paged,
    in_force: Annotated[bool, Query(description="Only those that still hold.")] = True,  # noqa: FBT002 - a query's parameter
) -> Any:
    """Silences, newest first."""
    query = queries.select_silences(
        caller_of(request), in_force=in_force, after=paging.after, limit=paging.limit
    )
    rows, following = paging.cut((await session.scalars(query)).all(), lambda row: str(row.id))
    return {"items": await _silences_shown(session, rows), "next": following}


@router.post(
    "/silences",
    status_code=status.HTTP_201_CREATED,
    response_model=SilenceOut,
    dependencies=[allows(Role.OPERATOR)],
    responses=problems(errors.AlertRuleNotFound, ModelNotFound, FieldProblem, KeyTooNarrow),
)
async def make_silence(order: SilenceOrder, request: Request, session: Writes) -> Any:
    """Tell nothing of a rule, of a model, or of a rule about a model, until a time; incidents open all the same."""
    if order.model is None:
        require_every_model(caller_of(request))
    else:
        require_sight(caller_of(request), order.model)
    silence = await actions.make_silence(
        session, rule=order.rule, model=order.model, until=order.until, reason=order.reason
    )
    return (await _silences_shown(session, [silence]))[0]


@router.delete(
    "/silences/{silence_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    dependencies=[allows(Role.OPERATOR)],
    responses=problems(errors.SilenceNotFound),
)
async def end_silence(silence_id: UUID, request: Request, session: Writes) -> None:
    """End a silence; open incidents that it held back are told now."""
    await actions.end_silence(session, silence_id, caller_of(request))
