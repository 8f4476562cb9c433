"""The model card of a version: what is known of it, and where that falls short.

After Mitchell et al., "Model Cards for Model Reporting" (FAT* 2019), as far as a service can know these things.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from pydantic import Field

from app.core.wire import Outgoing
from app.registry.rules import Stage
from app.runtimes.schema import Column, ColumnType, Signature
from app.system.records import CountOut, Record, TenureOut

MOST_SHOWN_INPUTS = 200


class InputOut(Outgoing):
    """A column, with what its reference sample showed unless it is marked sensitive."""

    name: str
    type: ColumnType
    nullable: bool
    sensitive: bool
    minimum: float | None
    maximum: float | None
    categories: list[str] | None
    importance: float | None


class CheckOut(Outgoing):
    """What one check of a gate found."""

    goal: Stage
    check: str
    passed: bool | None
    finding: str
    at: datetime


class CardOut(Outgoing):
    """A model card."""

    model_id: str
    semantic_version: str
    description: str
    stage: Stage
    environments: list[str]
    aliases: list[str]
    creator: str
    made_at: datetime
    tags: dict[str, str]
    framework: str
    algorithm: str | None
    format: str
    served_as: str
    requirements: list[str]
    parameters: dict[str, Any]
    task: str
    output: str
    classes: list[Any] | None
    inputs: list[InputOut] = Field(
        description="The first two hundred; `input_count` says how many there are."
    )
    input_count: int
    metrics: dict[str, float] = Field(description="As its maker reported them.")
    checks: list[CheckOut] = Field(description="What the newest gate before each stage found.")
    latency_ms: float | None
    memory_bytes: int | None
    size_bytes: int
    artifact_digest: str
    dataset_version: str | None
    dataset_hash: str | None
    code_revision: str | None
    source_run: str | None
    pipeline_execution: str | None
    ancestors: list[str]
    tenures: list[TenureOut]
    predictions: CountOut
    shortcomings: list[str] = Field(description="What is not known, was forced, failed or gave a warning.")


def make_card(record: Record) -> CardOut:
    """A card out of all that is known."""
    version, signature = record.version, Signature.from_json(record.version.signature)
    same = {name: getattr(version, name) for name in CardOut.model_fields if hasattr(version, name)}
    return CardOut.model_validate(
        same
        | {
            "task": signature.task.value,
            "output": signature.output.value,
            "classes": signature.classes and list(signature.classes),
            "inputs": [_input(column, record) for column in signature.inputs[:MOST_SHOWN_INPUTS]],
            "input_count": len(signature.inputs),
            "checks": list(_checks(record)),
            "ancestors": record.ancestors,
            "tenures": record.tenures,
            "predictions": record.predictions,
            "shortcomings": list(find_shortcomings(record)),
        }
    )


def _input(column: Column, record: Record) -> InputOut:
    is_sensitive = column.name in record.sensitive
    importances = record.probe.get("feature_importances") or {}
    return InputOut(
        name=column.name,
        type=column.type,
        nullable=column.nullable,
        sensitive=is_sensitive,
        minimum=None if is_sensitive else column.minimum,
        maximum=None if is_sensitive else column.maximum,
        categories=None if is_sensitive or column.categories is None else list(column.categories),
        importance=importances.get(column.name),
    )


def _checks(record: Record) -> Iterator[CheckOut]:
    """The checks of the newest report of each gate; reports come newest first."""
    newest = {report.goal: report for report in reversed(record.version.gate_reports)}
    for goal, report in newest.items():
        for check in report.checks:
            yield CheckOut(
                goal=goal,
                check=check["check"],
                passed=check["passed"],
                finding=check["finding"],
                at=report.at,
            )


def find_shortcomings(record: Record) -> Iterator[str]:
    """Where the card falls short: facts that nobody gave, gates that were forced or failed, warnings."""
    yield from _missing_facts(record)
    yield from _about_gates(record)
    yield from (f"Its first load warned: {warning}" for warning in record.version.warnings)


def _missing_facts(record: Record) -> Iterator[str]:
    version = record.version
    facts = {
        "No description: what it is for, and what it is not for, is not written down.": version.description,
        "No metrics were reported.": version.metrics,
        "The data that it was trained on is not named (dataset_version, dataset_hash).": (
            version.dataset_version or version.dataset_hash
        ),
        "The code that made it is not named (code_revision).": version.code_revision,
        "The run that made it is not named (source_run, pipeline_execution).": (
            version.source_run or version.pipeline_execution
        ),
        "The packages that it needs are not known.": version.requirements,
        "Its speed was not measured.": version.latency_ms is not None,
        "No sample of its training rows is stored, so drift has no reference.": _rows(record).get(
            "reference"
        ),
        "No held-out rows are stored, so its metrics can't be checked again.": _rows(record).get(
            "evaluation"
        ),
        "It has answered no logged prediction yet.": record.predictions.count,
    }
    yield from (problem for problem, known in facts.items() if not known)


def _rows(record: Record) -> dict[str, str]:
    rows: dict[str, str] = record.probe.get("rows") or {}
    return rows


def _about_gates(record: Record) -> Iterator[str]:
    reports = record.version.gate_reports
    if not reports:
        yield "It was never tried at a gate."
    for report in reports:
        if report.forced_by:
            yield f"The gate before {report.goal.value} was forced by {report.forced_by}."
    for check in _checks(record):
        if check.passed is False:
            yield f"The gate before {check.goal.value} found: {check.check}: {check.finding}"
    if record.sensitive and not any("fairness" in check.check for check in _checks(record)):
        yield "Columns are marked sensitive, but no fairness gap was measured."
