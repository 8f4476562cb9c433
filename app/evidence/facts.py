"""What happens to the evidence. Predictions and first labels are data; that they change or go is a fact."""

from dataclasses import dataclass

from app.core.facts import Fact


@dataclass(frozen=True)
class OutcomesCorrected(Fact):
    """What had been taken for the truth of some predictions was replaced."""

    model: str
    count: int

    @property
    def subject(self) -> str:
        """`model:<name>`."""
        return f"model:{self.model}"


@dataclass(frozen=True)
class ReferenceProfiled(Fact):
    """What a version's rows are held against was measured and frozen."""

    model: str
    version: int
    kind: str
    rows: int

    @property
    def subject(self) -> str:
        """`model:<name>:<number>`."""
        return f"model:{self.model}:{self.version}"


@dataclass(frozen=True)
class LogDaysDropped(Fact):
    """Predictions and outcomes of these days were deleted, because they were older than the log keeps."""

    days: list[str]

    @property
    def subject(self) -> str:
        """The log as a whole."""
        return "prediction-log"
