"""Two versions side by side."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

from fastapi import Query, Request
from pydantic import ConfigDict, Field

from app.core.access import Role, allows, caller_of, require_sight
from app.core.edge import Reads, room
from app.core.errors import FieldProblem
from app.core.problems import problems
from app.core.wire import Outgoing
from app.registry import errors as registry_errors
from app.registry.queries import read_reference
from app.registry.rules import Stage
from app.runtimes.schema import Signature
from app.system.differences import Better, compare_mappings, compare_metrics, compare_signatures
from app.system.records import CountOut, Record, TenureOut, read_record

router = room("/models", "models")
LINEAGE = ("dataset_version", "dataset_hash", "code_revision", "source_run", "pipeline_execution")
SAME = (
    "model_id", "semantic_version", "stage", "framework", "format", "algorithm", "creator", "made_at", "size_bytes",
    "latency_ms", "memory_bytes", "served_as",
)  # fmt: skip


class SideOut(Outgoing):
    """One of the two versions, and its record in production."""

    model_id: str
    semantic_version: str
    stage: Stage
    framework: str
    format: str
    algorithm: str | None
    creator: str
    made_at: datetime
    size_bytes: int
    latency_ms: float | None
    memory_bytes: int | None
    served_as: str
    lineage: dict[str, str | None]
    tenures: list[TenureOut]
    seconds_in_production: float
    predictions: CountOut


class MetricOut(Outgoing):
    """A metric of both."""

    metric: str
    a: float | None
    b: float | None
    difference: float | None = Field(description="b − a.")
    relative: float | None = Field(description="The difference over |a|.")
    better: Better | None = Field(
        description="Null where one has no such metric, or its direction is unknown."
    )


class ChangesOut(Outgoing):
    """What b has more, what it lacks, and what it has differently."""

    added: dict[str, Any]
    removed: dict[str, Any]
    changed: dict[str, dict[str, Any]]


class SchemaChangesOut(ChangesOut):
    """How the columns differ."""

    breaks: list[str] = Field(description="Why callers of a could not go on with b; empty when they can.")


class FeaturesOut(Outgoing):
    """Which columns the two have in common, and what each makes of them."""

    shared: list[str]
    only_a: list[str]
    only_b: list[str]
    importances: dict[str, dict[str, float | None]] = Field(
        description="By column, where a model keeps them."
    )


class ComparisonOut(Outgoing):
    """Two versions side by side."""

    model_config = ConfigDict(
        json_schema_extra={"description": "Two versions side by side; every difference is from a to b."}
    )

    model_a: SideOut
    model_b: SideOut
    metrics: list[MetricOut]
    parameters: ChangesOut
    schema_changes: SchemaChangesOut
    features: FeaturesOut
    size_bytes_difference: int
    latency_ms_difference: float | None
    lineage: ChangesOut


def _named(letter: str) -> Any:
    return Query(
        max_length=500, description=f"A version, by any reference; `model_{letter}_id` is understood too."
    )


Named = str | None


@router.get(
    "/compare",
    response_model=ComparisonOut,
    dependencies=[allows(Role.VIEWER)],
    responses=problems(
        FieldProblem,
        registry_errors.BadReference,
        registry_errors.ModelNotFound,
        registry_errors.VersionNotFound,
        registry_errors.NoProductionVersion,
    ),
)
async def compare_versions(
    request: Request,
    session: Reads,
    model_a: Annotated[Named, _named("a")] = None,
    model_b: Annotated[Named, _named("b")] = None,
    model_a_id: Annotated[Named, Query(include_in_schema=False)] = None,
    model_b_id: Annotated[Named, Query(include_in_schema=False)] = None,
) -> Any:
    """Two versions, of one model or of two: metrics, parameters, columns, size, speed, lineage, record in production."""
    sides = _chosen("model_a", model_a, model_a_id), _chosen("model_b", model_b, model_b_id)
    caller = caller_of(request)
    for side in sides:
        require_sight(caller, read_reference(side).name)
    a, b = [await read_record(session, side, caller) for side in sides]
    return compare(a, b)


def _chosen(field: str, *given: str | None) -> str:
    references = {reference for reference in given if reference}
    if len(references) != 1:
        raise FieldProblem(field, f"name one version as {field} (or {field}_id)")
    return references.pop()


def compare(a: Record, b: Record) -> ComparisonOut:
    """The two records side by side."""
    old, new = (Signature.from_json(each.version.signature) for each in (a, b))
    return ComparisonOut.model_validate(
        {
            "model_a": _side(a),
            "model_b": _side(b),
            "metrics": compare_metrics(a.version.metrics, b.version.metrics),
            "parameters": compare_mappings(a.version.parameters, b.version.parameters),
            "schema_changes": compare_signatures(old, new),
            "features": _compare_features(a, b, old.names, new.names),
            "size_bytes_difference": b.version.size_bytes - a.version.size_bytes,
            "latency_ms_difference": _difference(a.version.latency_ms, b.version.latency_ms),
            "lineage": asdict(compare_mappings(_known_lineage(a), _known_lineage(b))),
        }
    )


def _side(record: Record) -> SideOut:
    return SideOut(
        **{name: getattr(record.version, name) for name in SAME},
        lineage=_lineage(record),
        tenures=record.tenures,
        seconds_in_production=record.seconds_in_production,
        predictions=record.predictions,
    )


def _lineage(record: Record) -> dict[str, str | None]:
    parent = {"parent": record.ancestors[0] if record.ancestors else None}
    return parent | {name: getattr(record.version, name) for name in LINEAGE}


def _known_lineage(record: Record) -> dict[str, str]:
    return {name: value for name, value in _lineage(record).items() if value is not None}


def _difference(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else b - a


def _compare_features(a: Record, b: Record, old: tuple[str, ...], new: tuple[str, ...]) -> FeaturesOut:
    of_a, of_b = (each.probe.get("feature_importances") or {} for each in (a, b))
    return FeaturesOut(
        shared=[name for name in old if name in set(new)],
        only_a=[name for name in old if name not in set(new)],
        only_b=[name for name in new if name not in set(old)],
        importances={
            name: {"a": of_a.get(name), "b": of_b.get(name)} for name in dict.fromkeys([*of_a, *of_b])
        },
    )
