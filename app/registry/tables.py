"""The registry's tables: models, versions, their stages, aliases, files, gate reports and holds."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, LargeBinary, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.core.database import Base, choice
from app.core.ids import new_id
from app.registry.rules import Reference, Semantic, Stage


class Model(Base):
    """A registered name."""

    __tablename__ = "model"
    __table_args__ = (Index("ix_model_tags", "tags", postgresql_using="gin"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(unique=True)
    twin_key: Mapped[str] = mapped_column(unique=True)
    description: Mapped[str] = mapped_column(server_default="")
    tags: Mapped[dict[str, Any]]
    log_mode: Mapped[str] = mapped_column(server_default="durable")
    log_probability: Mapped[float] = mapped_column(server_default="1")
    sensitive_columns: Mapped[list[str]] = mapped_column(server_default=text("'{}'"))
    gates: Mapped[dict[str, Any]]
    last_number: Mapped[int] = mapped_column(server_default="0")
    made_by: Mapped[str]
    made_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]


class Version(Base):
    """One immutable artifact of a model. A deleted version stays as a tombstone, so that no number is used twice."""

    __tablename__ = "version"
    __table_args__ = (
        UniqueConstraint("model_id", "number"),
        UniqueConstraint("model_id", "major", "minor", "patch"),
        Index("ix_version_tags", "tags", postgresql_using="gin"),
        Index("ix_version_artifact", "artifact_digest"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    model_id: Mapped[UUID] = mapped_column(ForeignKey("model.id"))
    model_name: Mapped[str]
    number: Mapped[int]
    major: Mapped[int]
    minor: Mapped[int]
    patch: Mapped[int]
    stage: Mapped[Stage] = mapped_column(choice(Stage))
    stage_since: Mapped[datetime]

    framework: Mapped[str]
    format: Mapped[str]
    algorithm: Mapped[str | None]
    description: Mapped[str] = mapped_column(server_default="")
    tags: Mapped[dict[str, Any]]
    creator: Mapped[str]
    parameters: Mapped[dict[str, Any]]
    metrics: Mapped[dict[str, Any]]
    requirements: Mapped[list[str]] = mapped_column(server_default=text("'{}'"))
    signature: Mapped[dict[str, Any]]

    dataset_version: Mapped[str | None]
    dataset_hash: Mapped[str | None]
    code_revision: Mapped[str | None]
    source_run: Mapped[str | None]
    pipeline_execution: Mapped[str | None]
    parent_id: Mapped[UUID | None] = mapped_column(ForeignKey("version.id"))

    artifact_digest: Mapped[str]
    artifact_signature: Mapped[bytes] = mapped_column(LargeBinary)
    serving_signature: Mapped[bytes | None] = mapped_column(LargeBinary)
    """Of the files that replicas load where those are not the artifact itself, but a form proved equal to it."""
    size_bytes: Mapped[int]
    latency_ms: Mapped[float | None]
    memory_bytes: Mapped[int | None]
    probe: Mapped[dict[str, Any]]
    """What the first load in a child process found: the stored sample, its outputs, warnings."""

    made_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]

    @property
    def semantic(self) -> Semantic:
        """The semantic version."""
        return Semantic(self.major, self.minor, self.patch)

    @property
    def model_reference(self) -> str:
        """The canonical `name:number`."""
        return str(Reference(self.model_name, number=self.number))


class StageMove(Base):
    """A version went from one stage to another: who, when and why."""

    __tablename__ = "stage_move"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    version_id: Mapped[UUID] = mapped_column(ForeignKey("version.id"), index=True)
    origin: Mapped[Stage | None] = mapped_column(choice(Stage, "origin"))
    goal: Mapped[Stage] = mapped_column(choice(Stage, "goal"))
    environment: Mapped[str | None]
    actor: Mapped[str]
    role: Mapped[str]
    reason: Mapped[str]
    at: Mapped[datetime]


class Tenure(Base):
    """A version's time in production in one environment; at most one tenure of a model is open there."""

    __tablename__ = "tenure"
    __table_args__ = (
        Index(
            "uq_tenure_open",
            "model_id",
            "environment",
            unique=True,
            postgresql_where=text("ended_at IS NULL"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    model_id: Mapped[UUID] = mapped_column(ForeignKey("model.id"))
    environment: Mapped[str]
    version_id: Mapped[UUID] = mapped_column(ForeignKey("version.id"), index=True)
    began_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]


class Alias(Base):
    """A name that points to one version of a model."""

    __tablename__ = "alias"

    model_id: Mapped[UUID] = mapped_column(ForeignKey("model.id"), primary_key=True)
    alias: Mapped[str] = mapped_column(primary_key=True)
    version_id: Mapped[UUID] = mapped_column(ForeignKey("version.id"), index=True)
    set_at: Mapped[datetime]


class Part(StrEnum):
    """Which set of files a version's file belongs to."""

    ARTIFACT = "artifact"
    SERVING = "serving"
    ROWS = "rows"


class VersionFile(Base):
    """One file of a version, so that a blob's users can be found."""

    __tablename__ = "version_file"

    version_id: Mapped[UUID] = mapped_column(ForeignKey("version.id"), primary_key=True)
    part: Mapped[Part] = mapped_column(choice(Part), primary_key=True)
    path: Mapped[str] = mapped_column(primary_key=True)
    digest: Mapped[str] = mapped_column(index=True)
    size_bytes: Mapped[int]


class GateReport(Base):
    """What the gate before a stage found, check by check."""

    __tablename__ = "gate_report"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    version_id: Mapped[UUID] = mapped_column(ForeignKey("version.id"), index=True)
    goal: Mapped[Stage] = mapped_column(choice(Stage, "goal"))
    passed: Mapped[bool]
    forced_by: Mapped[str | None]
    champion_id: Mapped[UUID | None]
    """The version in production that it was held against."""
    checks: Mapped[list[Any]]
    at: Mapped[datetime]


class Hold(Base):
    """Somebody needs a version kept; delete and cleanup refuse while any hold stands."""

    __tablename__ = "hold"

    version_id: Mapped[UUID] = mapped_column(ForeignKey("version.id"), primary_key=True)
    holder: Mapped[str] = mapped_column(primary_key=True)
    placed_at: Mapped[datetime]
