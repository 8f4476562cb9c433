"""The prediction log, the outcomes of its predictions and their sums, and how far each spool segment has been shipped.

Log and outcomes are partitioned by the day of the prediction, which its id carries. `partitions` makes and drops
the days.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Identity, Index, LargeBinary
from sqlalchemy.dialects.postgresql import JSON, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.core.database import Base, choice
from app.evidence.rules import ReferenceKind
from app.stats.profile import Sections

AsWritten = JSON(none_as_null=True)
"""JSON that is stored as the text that it came as: cheaper to take in than JSONB by a third of a row's whole cost."""
Compared = JSONB(none_as_null=True)
_RARE = {"version": "int8_bloom_ops", "arm": "text_bloom_ops", "caller": "text_bloom_ops"}


class PredictionRow(Base):
    """One scored row of one request; `at` is the time in `id`.

    A frequent version, arm or caller is found along the index by time. For rare ones, a summary of each stretch of
    the table says where they are not (PostgreSQL manual, 65.5 "BRIN Indexes"): it is written by vacuum, not by
    whoever adds rows, to whom three B-trees cost as much as the rows themselves.
    """

    __tablename__ = "prediction"
    __table_args__ = (
        Index("ix_prediction_model", "model", "at"),
        Index(
            "ix_prediction_rare",
            *_RARE,
            postgresql_using="brin",
            postgresql_ops=_RARE,
            postgresql_with={"autosummarize": True},
        ),
        {"postgresql_partition_by": "RANGE (at)"},
    )

    at: Mapped[datetime] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    request_id: Mapped[str]
    model: Mapped[str]
    version_id: Mapped[UUID]
    version: Mapped[int]
    environment: Mapped[str]
    revision: Mapped[int | None]
    arm: Mapped[str | None]
    propensity: Mapped[float]
    shadow: Mapped[bool]
    log_probability: Mapped[float]
    caller: Mapped[str]
    entity_id: Mapped[str | None]
    latency_ms: Mapped[float]
    features: Mapped[list[Any] | None] = mapped_column(AsWritten)
    """The row's values in the order of its version's signature; none when the row could not be read."""
    output: Mapped[Any | None] = mapped_column(AsWritten)
    probabilities: Mapped[list[Any] | None] = mapped_column(AsWritten)
    confidence: Mapped[float | None]
    error: Mapped[Any | None] = mapped_column(AsWritten)


class OutcomeRow(Base):
    """The ground truth of one prediction, as far as it is known; it may be there before its prediction is.

    The model is part of the key: whoever may give feedback to one model can't take the place of another's.
    """

    __tablename__ = "outcome"
    __table_args__ = ({"postgresql_partition_by": "RANGE (at)"},)

    at: Mapped[datetime] = mapped_column(primary_key=True)
    prediction_id: Mapped[UUID] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(primary_key=True)
    actual: Mapped[Any] = mapped_column(Compared)
    value: Mapped[float | None]
    observed_at: Mapped[datetime]
    given_at: Mapped[datetime]
    given_by: Mapped[str]
    corrections: Mapped[int] = mapped_column(server_default="0")
    previous: Mapped[Any | None] = mapped_column(Compared)
    """What was taken for true before the last correction."""


class SpoolPosition(Base):
    """How far a spool segment has been shipped; kept beyond the segment, so that none is shipped twice."""

    __tablename__ = "spool_position"

    segment_id: Mapped[UUID] = mapped_column(primary_key=True)
    spool: Mapped[str]
    offset: Mapped[int] = mapped_column(server_default="0")
    frames: Mapped[int] = mapped_column(server_default="0")
    rows: Mapped[int] = mapped_column(server_default="0")
    quarantined: Mapped[int] = mapped_column(server_default="0")
    lost_bytes: Mapped[int] = mapped_column(server_default="0")
    """Bytes that held no readable frame: torn off by a crash, or damaged."""
    shipped_at: Mapped[datetime]


SECTIONS = ("counts", "sums", "extremes", "labels")


class StoredProfile:
    """The columns of a table that hold a profile, in the sections of `Profile.to_bytes`."""

    counts: Mapped[bytes] = mapped_column(LargeBinary)
    sums: Mapped[bytes] = mapped_column(LargeBinary)
    extremes: Mapped[bytes] = mapped_column(LargeBinary)
    labels: Mapped[bytes] = mapped_column(LargeBinary, server_default="")

    @classmethod
    def cells(cls) -> list[Any]:
        """These columns, to be selected."""
        return [getattr(cls, name) for name in SECTIONS]

    @property
    def sections(self) -> Sections:
        """What they hold."""
        return self.counts, self.sums, self.extremes, self.labels

    @sections.setter
    def sections(self, sections: Sections) -> None:
        self.counts, self.sums, self.extremes, self.labels = sections


class ProfilePlan(StoredProfile, Base):
    """Along which axes a version's rows are counted, and the profile of its reference; made once, never changed."""

    __tablename__ = "profile_plan"

    version_id: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[ReferenceKind] = mapped_column(choice(ReferenceKind, "kind"))
    rows: Mapped[int]
    """Of the reference."""
    columns: Mapped[list[Any]] = mapped_column(AsWritten)
    made_at: Mapped[datetime]
    row_order: Mapped[dict[str, Any] | None] = mapped_column(AsWritten)
    """How the rows of the reference depend on each other, and which hours of the week they are of."""


class HourProfile(StoredProfile, Base):
    """What one hour of the week looked like, in all weeks together: of the reference itself, or of an environment's stream."""

    __tablename__ = "hour_profile"

    version_id: Mapped[UUID] = mapped_column(primary_key=True)
    environment: Mapped[str] = mapped_column(primary_key=True)
    """Empty for the reference's own rows."""
    hour: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """From Monday 0 to 1 o'clock UTC."""
    rows: Mapped[int]


class LiveProfile(StoredProfile, Base):
    """What one spool's rows of a version and an arm looked like in one stretch of time, along the version's axes.

    Counts are little-endian 32-bit integers, column by column; the view `live_profile_cell` shows them one by one. Each
    spool has rows of its own, so that the shippers of replicas never wait for each other; who reads adds them up.
    """

    __tablename__ = "live_profile"
    __table_args__ = (Index("ix_live_profile_bucket", "bucket"),)

    version_id: Mapped[UUID] = mapped_column(primary_key=True)
    bucket: Mapped[datetime] = mapped_column(primary_key=True)
    environment: Mapped[str] = mapped_column(primary_key=True)
    arm: Mapped[str] = mapped_column(primary_key=True)
    """Empty where the caller named the version."""
    shadow: Mapped[bool] = mapped_column(primary_key=True)
    spool: Mapped[str] = mapped_column(primary_key=True)
    """That brought the rows; of a roll-up how long its stretch is."""
    minutes: Mapped[int] = mapped_column(server_default="5")
    """How long the stretch is: see `rollups`."""
    rows: Mapped[int]


class OutcomeMark(Base):
    """Predictions or outcomes were added to five minutes of a model, whose sums are no longer what the log says.

    Marks are only ever added and taken away, so that nobody who gives labels waits for anybody else.
    """

    __tablename__ = "outcome_mark"
    __table_args__ = (Index("ix_outcome_mark_bucket", "model", "bucket"),)

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    model: Mapped[str]
    bucket: Mapped[datetime]
    version_id: Mapped[UUID | None]
    """Whose predictions were added; a label's mark tells none."""
    version: Mapped[int | None]
    environment: Mapped[str | None]
    arm: Mapped[str | None]
    shadow: Mapped[bool | None]
    rows: Mapped[int] = mapped_column(server_default="0")
    answers: Mapped[dict[str, int] | None] = mapped_column(AsWritten)
    due_at: Mapped[datetime]
    """From when on the sums are worth making again: at once for labels, for predictions when the five minutes are over."""


class LiveOutcome(Base):
    """What came true of a version's and an arm's rows in one stretch of time: five minutes, an hour or a day of them.

    The labels of five minutes are summed wholly from the log, so that late, early and corrected ones count once; rows are
    counted as they come into it; hours and days are made from these. They outlive the log's own days.
    """

    __tablename__ = "live_outcome"
    __table_args__ = (
        Index("ix_live_outcome_model", "model", "minutes", "bucket"),
        Index("ix_live_outcome_made", "minutes", "made_at"),
    )

    version_id: Mapped[UUID] = mapped_column(primary_key=True)
    minutes: Mapped[int] = mapped_column(primary_key=True)
    bucket: Mapped[datetime] = mapped_column(primary_key=True)
    environment: Mapped[str] = mapped_column(primary_key=True)
    arm: Mapped[str] = mapped_column(primary_key=True)
    """Empty where the caller named the version."""
    shadow: Mapped[bool] = mapped_column(primary_key=True)
    model: Mapped[str]
    version: Mapped[int]
    rows: Mapped[int]
    labelled: Mapped[int]
    sums: Mapped[dict[str, Any]] = mapped_column(AsWritten)
    made_at: Mapped[datetime]
