"""Performance over HTTP."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import Query, Request

from app.core import clock
from app.core.access import Role, allows, caller_of
from app.core.edge import Begins, Db, Reads, room
from app.core.errors import FieldProblem
from app.core.problems import problems
from app.evidence.outcome_sums import DAY, HOUR
from app.evidence.outcome_windows import Cohort, Slot, read_slots, start_of_latest_labelled
from app.evidence.realised import Realised
from app.monitoring import queries
from app.monitoring.kinds import PerformanceFinding
from app.monitoring.parameters import REFUSED_REFERENCES, Environment, ModelId
from app.monitoring.performance.baselines import Baseline
from app.monitoring.performance.close_up import CloseReader, CloseUp
from app.monitoring.performance.depending import find_effects, learn_effect
from app.monitoring.performance.looking import (
    PerformanceSeen,
    PerformanceTerms,
    baseline_of,
    bring_up_to_date,
    keep_performance,
    look_at_outcomes,
    period_of,
    recommend,
)
from app.monitoring.performance.measuring import (
    MOST_SHOWN_CLASSES,
    Measured,
    measure_briefly,
    shown,
    shown_label,
)
from app.monitoring.performance.rules import advise_on, metrics_of, told_of
from app.monitoring.performance.schemas import PerformanceCheck, PerformanceHistory, PerformanceOut
from app.monitoring.performance.wording import say_what_is_baseline, say_what_is_capped, say_what_is_young
from app.monitoring.queries import Granularity
from app.monitoring.tables import PerformanceVerdictRow
from app.registry import errors as registry_errors
from app.registry import queries as registry
from app.registry.tables import Version
from app.runtimes.schema import Signature

router = room("/models", "monitoring")
MOST_HOURLY_DAYS = 31
USUAL_ALPHA = 0.05


@router.post(
    "/{model_id}/performance-check",
    response_model=PerformanceOut,
    dependencies=[allows(Role.OPERATOR)],
    responses=problems(*REFUSED_REFERENCES, FieldProblem),
)
async def check_performance(
    model_id: ModelId,
    order: PerformanceCheck,
    request: Request,
    database: Db,
    begin: Begins,
    environment: Environment = "production",
) -> Any:
    """How a version does by the labels that have come, beside its baseline; the verdict is kept."""
    settings = request.app.state.settings
    async with database.reads() as reading:
        version = await registry.get_version(reading, model_id, environment)
        watching = await queries.watching_of(reading, version.model_id, settings)
        model = await registry.get_model_by_id(reading, version.model_id)
    if order.slice_by in model.sensitive_columns and caller_of(request).role < Role.ADMIN:
        raise FieldProblem(
            "slice_by", f"{order.slice_by!r} is a sensitive column; name it as `sensitive` instead"
        )
    if order.metric is not None:
        _require_metric(order.metric, version)
    await bring_up_to_date(database, version.model_name)
    since, until = order.ends(watching.window_hours)
    cohort = Cohort(version.id, environment, order.arm, order.shadow)
    terms = PerformanceTerms(
        order.threshold or settings.performance_threshold, order.false_alarm_rate, order.metric
    )
    maturity = None if order.maturity_hours is None else timedelta(hours=order.maturity_hours)
    async with database.reads() as reading:
        if order.window_rows is not None:
            since = await start_of_latest_labelled(reading, cohort, rows=order.window_rows, until=until)
        period = await period_of(reading, version.model_name, since, until, maturity)
    baseline = await baseline_of(database, version, cohort, period.mature)
    async with database.reads() as reading:
        signature = Signature.from_json(version.signature)
        effect = await learn_effect(reading, version, cohort, until=min(period.until, period.mature))
        terms = replace(terms, design_effect=effect)
        seen = await look_at_outcomes(reading, signature, cohort, period, baseline, terms)
        closer = CloseReader(reading, version.model_id, version.model_name, signature, cohort, seen, terms)
        close_up = await closer.tell(order)
    session = await begin()
    row = keep_performance(session, seen, version, environment, terms)
    row.recommendation = recommend(seen.judgement, is_estimated_fallen=close_up.has_fallen)
    await session.flush()
    answer = _answer(row, seen, baseline) | _besides(close_up)
    return answer | {"model_id": version.model_reference, "task": signature.task}


def _require_metric(metric: str, version: Version) -> None:
    sample = version.probe.get("sample_output") or {}
    known = metrics_of(
        Signature.from_json(version.signature).task, has_odds=sample.get("probabilities") is not None
    )
    if metric not in known:
        has = f"it has {', '.join(known)}" if known else "it has none"
        raise FieldProblem("metric", f"{metric} is not told of {version.model_reference}, {has}")


def _answer(row: PerformanceVerdictRow, seen: PerformanceSeen, baseline: Baseline | None) -> dict[str, Any]:
    judgement = seen.judgement
    return {
        "check_id": row.id,
        "environment": row.environment,
        "window": _window(seen),
        "insufficient_data": _is_short(seen),
        "labels_needed": judgement.labels_needed or 0 if judgement.now else judgement.labels_needed,
        "finding": judgement.finding,
        "metric": judgement.metric,
        "loss": judgement.loss,
        "threshold": row.threshold,
        "false_alarm_rate": row.false_alarms,
        "design_effect": row.design_effect,
        "effective_labels": int(seen.compared.labelled / (row.design_effect or 1.0)),
        **_measured(seen.measured),
        "baseline": baseline and {
            "kind": baseline.kind, "labelled": baseline.labelled, "made_at": baseline.made_at, "metrics": shown(seen.was),
        },
        "recommendation": row.recommendation,
        "recommendations": [
            *advise_on(judgement, told_of(seen.was)), *say_what_is_baseline(seen, baseline),
            *say_what_is_young(seen, clock.now()), *say_what_is_capped(seen.compared),
        ],
    }  # fmt: skip


def _besides(close_up: CloseUp) -> dict[str, Any]:
    estimated = close_up.estimated
    return close_up.told | ({"estimated": estimated.to_json()} if estimated else {})


def _is_short(seen: PerformanceSeen) -> bool:
    """Whether the judged metric can't be told; without a baseline, whether none can."""
    if seen.judgement.finding != PerformanceFinding.NO_BASELINE:
        return seen.judgement.finding == PerformanceFinding.INSUFFICIENT_DATA
    return all(isinstance(told, ValueError) for told in seen.measured.metrics.values())


def _window(seen: PerformanceSeen) -> dict[str, Any]:
    period, whole, compared = seen.period, seen.whole, seen.compared
    return {
        "since": period.since, "until": period.until, "rows": whole.rows, "labelled": whole.labelled,
        "label_coverage": coverage(whole), "usual_delay_seconds": period.delay.total_seconds(),
        "compared_until": min(period.until, period.mature), "compared_rows": compared.rows,
        "compared_labelled": compared.labelled,
    }  # fmt: skip


def coverage(realised: Realised) -> float | None:
    """The share of rows whose label has come."""
    return realised.labelled / realised.rows if realised.rows else None


def _measured(measured: Measured) -> dict[str, Any]:
    confusion = measured.confusion
    few = confusion is not None and len(confusion.labels) <= MOST_SHOWN_CLASSES
    classes = list(measured.per_class.items())[:MOST_SHOWN_CLASSES]
    return {
        "metrics": shown(measured.metrics, measured.bin_errors),
        "per_class": [{"label": shown_label(label), "metrics": shown(told)} for label, told in classes],
        "confusion": {
            "labels": [shown_label(str(label)) for label in confusion.labels],
            "counts": confusion.counts.tolist(),
        } if few and confusion else None,
    }  # fmt: skip


@router.get(
    "/{model_id}/performance-history",
    response_model=PerformanceHistory,
    dependencies=[allows(Role.VIEWER)],
    responses=problems(registry_errors.BadReference, registry_errors.ModelNotFound, FieldProblem),
)
async def get_performance_history(
    model_id: ModelId,
    session: Reads,
    days: Annotated[int, Query(ge=1, le=400)] = 30,
    granularity: Granularity = "day",
    environment: Environment = "production",
) -> Any:
    """How each version of a model did, by hour or day of its predictions; of hours, at most a month."""
    if granularity == "hour" and days > MOST_HOURLY_DAYS:
        raise FieldProblem(
            "days", f"must be at most {MOST_HOURLY_DAYS} with granularity=hour; take granularity=day for more"
        )
    model = await registry.get_model(session, registry.read_reference(model_id).name)
    since = clock.now() - timedelta(days=days)
    minutes = HOUR if granularity == "hour" else DAY
    slots = await read_slots(session, model.name, environment=environment, since=since, minutes=minutes)
    stored = await registry.signatures_by_id(session, {slot.version_id for slot in slots})
    signatures = {version_id: Signature.from_json(body) for version_id, body in stored.items()}
    effects = await find_effects(session, stored, environment)
    items = await asyncio.to_thread(_points, slots, signatures, effects)
    estimated = await queries.estimated_history(
        session, model.id, environment=environment, since=since, granularity=granularity
    )
    for item in items:
        item["estimated"] = estimated.get((item["at"], item["version"]))
    return {"model": model.name, "environment": environment, "granularity": granularity, "items": items}


def _points(
    slots: Sequence[Slot], signatures: Mapping[UUID, Signature], effects: Mapping[UUID, float]
) -> list[dict[str, Any]]:
    return [
        _point(slot, signatures[slot.version_id], effects.get(slot.version_id))
        for slot in slots
        if slot.version_id in signatures
    ]


def _point(slot: Slot, signature: Signature, effect: float | None) -> dict[str, Any]:
    told = measure_briefly(signature, slot.realised, USUAL_ALPHA, design_effect=effect or 1.0)
    return {
        "at": slot.at, "version": slot.version, "rows": slot.realised.rows, "labelled": slot.realised.labelled,
        "label_coverage": coverage(slot.realised), "metrics": shown(told), "design_effect": effect,
        "insufficient_data": all(isinstance(each, ValueError) for each in told.values()),
    }  # fmt: skip
