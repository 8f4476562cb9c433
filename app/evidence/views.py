"""Logged predictions as a caller may see them: columns by name, sensitive ones hidden."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.core.access import Caller, Role
from app.evidence.queries import column_names, outcomes_of
from app.evidence.rules import mask_error, name_features
from app.evidence.tables import OutcomeRow, PredictionRow

SHOWN_AS_STORED = (
    "at", "request_id", "environment", "revision", "arm", "propensity", "shadow", "log_probability", "caller",
    "entity_id", "latency_ms", "probabilities", "confidence",
)  # fmt: skip
SHOWN_OF_OUTCOME = ("actual", "value", "observed_at", "given_at", "given_by", "corrections", "previous")


def hidden_from(caller: Caller, sensitive_columns: Sequence[str]) -> frozenset[str]:
    """The columns whose values a caller may not see."""
    return frozenset() if caller.role >= Role.ADMIN else frozenset(sensitive_columns)


@dataclass
class LogView:
    """A model's log through the eyes of one caller."""

    session: AsyncSession
    hidden: frozenset[str]
    _columns: dict[UUID, list[str]] = field(default_factory=dict)

    async def show(self, predictions: Sequence[PredictionRow]) -> list[dict[str, Any]]:
        """Predictions with what turned out to be true of them."""
        for version_id in {row.version_id for row in predictions} - self._columns.keys():
            self._columns[version_id] = await column_names(self.session, version_id)
        outcomes = await outcomes_of(self.session, predictions)
        return [self._show(row, outcomes.get(row.id)) for row in predictions]

    def _show(self, row: PredictionRow, outcome: OutcomeRow | None) -> dict[str, Any]:
        shown = {name: getattr(row, name) for name in SHOWN_AS_STORED}
        return shown | {
            "prediction_id": row.id,
            "model_id": row.model_reference,
            "features": name_features(self._columns[row.version_id], row.features, self.hidden),
            "prediction": row.output,
            "error": mask_error(row.error, self.hidden),
            "outcome": outcome and {name: getattr(outcome, name) for name in SHOWN_OF_OUTCOME},
        }
