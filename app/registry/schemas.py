"""The registry on the wire."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from app.core.wire import Incoming, Json, Line, Outgoing, Prose, Reason, Tags, Value
from app.registry.rules import Semantic, Stage, parse_semantic

LogMode = Literal["durable", "fsync", "sampled"]
Digest = Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")]


class EdgeCase(Incoming):
    """A row whose answer must never change."""

    input: Json
    prediction: Value
    tolerance: float = Field(1e-6, ge=0)


class Bound(Incoming):
    """What a metric must keep to."""

    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _bounds_something(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError("give `min`, `max` or both")
        return self


class Fairness(Incoming):
    """How far the share of favourable answers may differ between the groups of a column."""

    column: Line
    favourable: Value
    max_gap: float = Field(0.1, gt=0, lt=1)


class Gates(Incoming):
    """What a version of this model must show before staging and before production."""

    metrics: dict[Line, Bound] = Field(default_factory=dict)
    max_latency_ms: float | None = Field(None, gt=0)
    max_memory_mb: float | None = Field(None, gt=0)
    fairness: list[Fairness] = Field(default_factory=list, max_length=20)
    edge_cases: list[EdgeCase] = Field(default_factory=list, max_length=100)
    too_good: float = Field(0.995, gt=0.5, le=1, description="A score at or above this is taken for leakage.")


class VersionDetails(Incoming):
    """What the maker of a version says of it: the `metadata` part of a registration."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "name": "breast-cancer",
                "description": "Malignant or benign, from 30 measurements of cell nuclei",
                "algorithm": "LogisticRegression",
                "metrics": {"accuracy": 0.965},
                "parameters": {"C": 1.0},
                "dataset_version": "wdbc-1995",
                "tags": {"team": "diagnostics"},
            }
        }
    )

    name: Line
    description: Prose = ""
    framework: Line | None = None
    algorithm: Line | None = None
    creator: Line | None = None
    tags: Tags = Field(default_factory=dict)
    parameters: Json = Field(default_factory=dict)
    metrics: dict[Line, float] = Field(default_factory=dict, max_length=1000)
    dataset_version: Line | None = None
    dataset_hash: Line | None = None
    code_revision: Line | None = None
    source_run: Line | None = None
    pipeline_execution: Line | None = None
    requirements: list[Line] = Field(default_factory=list, max_length=2000)
    signature: Json | None = Field(
        None, description="Columns, task and classes; found out from the model when absent."
    )
    semantic_version: str | None = Field(
        None, description="Chosen by what changed when absent; never used twice."
    )
    parent: Line | None = Field(
        None, description="The version that this one was made from; the latest when absent."
    )
    stage: Literal["training", "validation"] = "validation"
    target: Line | None = Field(
        None, description="The column of the `evaluation` part that holds the true answer."
    )
    reference_time: Line | None = Field(
        None,
        description="The column of the `reference` part that says when each row was; none of the model's. With two "
        "weeks of rows the model is watched by the hour of the week from the first day.",
    )
    serve_as: Literal["auto", "native", "onnx"] = "auto"
    sha256: dict[str, Digest] = Field(
        default_factory=dict, description="Digests that the files must have, by name."
    )

    @field_validator("semantic_version")
    @classmethod
    def _is_semantic(cls, text: str | None) -> str | None:
        if text is not None and parse_semantic(text) is None:
            raise ValueError("must be major.minor.patch, such as 2.1.0")
        return text

    @property
    def semantic(self) -> Semantic | None:
        """The semantic version that the caller chose."""
        return parse_semantic(self.semantic_version) if self.semantic_version else None


class FileOut(Outgoing):
    """One file of an artifact."""

    path: str
    sha256: str
    size_bytes: int


class VersionOut(Outgoing):
    """A version."""

    model_id: str
    name: str
    version: int
    semantic_version: str
    stage: Stage
    status: str
    stage_since: datetime
    environments: list[str] = Field(description="Where it is in production now.")
    aliases: list[str]
    description: str
    framework: str
    format: str
    algorithm: str | None
    creator: str
    tags: dict[str, str]
    parameters: dict[str, Any]
    metrics: dict[str, float]
    requirements: list[str]
    signature: dict[str, Any]
    dataset_version: str | None
    dataset_hash: str | None
    code_revision: str | None
    source_run: str | None
    pipeline_execution: str | None
    artifact_digest: str
    size_bytes: int
    latency_ms: float | None = Field(description="Per row, measured at the first load, on the sample.")
    memory_bytes: int | None = Field(description="What loading it took.")
    served_as: str
    warnings: list[str]
    made_at: datetime


class MoveOut(Outgoing):
    """A step in a version's life."""

    origin: Stage | None
    goal: Stage
    environment: str | None
    actor: str
    role: str
    reason: str
    at: datetime


class GateReportOut(Outgoing):
    """What a gate found."""

    goal: Stage
    passed: bool
    forced_by: str | None
    checks: list[dict[str, Any]]
    at: datetime


class VersionWhole(VersionOut):
    """A version with its files, its history and what the gates found."""

    files: list[FileOut]
    history: list[MoveOut]
    gate_reports: list[GateReportOut]


class ModelOut(Outgoing):
    """A model."""

    name: str
    description: str
    tags: dict[str, str]
    log_mode: LogMode
    log_probability: float
    sensitive_columns: list[str]
    gates: dict[str, Any]
    made_by: str
    made_at: datetime
    latest: VersionOut | None = None
    production: dict[str, str] = Field(
        default_factory=dict, description="Environment → the version that serves there."
    )
    aliases: dict[str, str] = Field(default_factory=dict)


class ModelChanges(Incoming):
    """What may be changed about a model or, through a version's reference, about a version; what is left out stays."""

    model_config = ConfigDict(json_schema_extra={"example": {"description": "Now with fewer false alarms"}})

    description: Prose = ""
    tags: Tags = Field(default_factory=dict)
    log_mode: LogMode = "durable"
    log_probability: float = Field(1.0, gt=0, le=1)
    sensitive_columns: list[Line] = Field(default_factory=list, max_length=1000)
    gates: Gates = Field(default_factory=Gates)


class AliasTarget(Incoming):
    """Which version an alias shall point to."""

    model_config = ConfigDict(json_schema_extra={"example": {"version": 2}})

    version: int = Field(ge=1)


class StageChange(Incoming):
    """Why a version changes its stage."""

    model_config = ConfigDict(json_schema_extra={"example": {"reason": "replaced by version 3"}})

    reason: Reason = ""


class ValidationOrder(StageChange):
    """What a validation is for."""

    model_config = ConfigDict(json_schema_extra={"example": {"reason": "candidate for this week"}})

    goal: Literal["staging", "production"] = "staging"
    force: bool = False


class CleanupReport(Outgoing):
    """What a clean-up removed, or would remove."""

    dry_run: bool
    versions: list[str]
    blobs: int
    bytes: int
