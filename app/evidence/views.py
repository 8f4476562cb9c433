"""Logged predictions as a caller may see them: columns by name, sensitive ones hidden."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.access import Caller, Role
from app.core.errors import FieldProblem
from app.evidence.queries import LogFilters, column_names, outcomes_of
from app.evidence.rules import mask_error, name_features
from app.evidence.tables import PredictionRow
from app.registry import queries as registry

SHOWN_AS_STORED = (
    "at", "request_id", "environment", "revision", "arm", "propensity", "shadow", "log_probability", "caller",
    "entity_id", "latency_ms", "probabilities", "confidence",
)  # fmt: skip
SHOWN_OF_OUTCOME = ("actual", "value", "observed_at", "given_at", "given_by", "corrections", "previous")


@dataclass(frozen=True)
class Log:
    """The log of a model, or of one of its versions, that a caller asks for.

    Attributes:
        number: the version's; None when the whole model is meant.
        hidden: the columns whose values the caller may not see.
    """

    model: str
    model_id: UUID
    number: int | None
    hidden: frozenset[str]

    def narrow(self, filters: LogFilters) -> LogFilters:
        """The filters, with the version that the reference names.

        Raises:
            FieldProblem: they name another one.
        """
        if self.number is not None and filters.version not in (None, self.number):
            raise FieldProblem("version", f"contradicts the reference, which names version {self.number}")
        return replace(filters, version=self.number or filters.version)


async def open_log(session: AsyncSession, reference: str, caller: Caller) -> Log:
    """The log that a reference means: a bare name means all of the model's versions.

    Raises:
        BadReference, ModelNotFound, VersionNotFound.
    """
    wanted = registry.read_reference(reference)
    model = await registry.get_model(session, wanted.name)
    number = None if wanted.is_bare else (await registry.get_version(session, wanted)).number
    hidden = frozenset() if caller.role >= Role.ADMIN else frozenset(model.sensitive_columns)
    return Log(model.name, model.id, number, hidden)


@dataclass
class LogView:
    """A model's log through the eyes of one caller."""

    session: AsyncSession
    hidden: frozenset[str]
    _columns: dict[UUID, list[str]] = field(default_factory=dict)

    async def show(self, predictions: Sequence[PredictionRow | Row[Any]]) -> list[dict[str, Any]]:
        """Predictions with what turned out to be true of them."""
        for version_id in {row.version_id for row in predictions} - self._columns.keys():
            self._columns[version_id] = await column_names(self.session, version_id)
        outcomes = await outcomes_of(self.session, predictions)
        return [self._show(row, outcomes.get(row.id)) for row in predictions]

    def _show(self, row: PredictionRow | Row[Any], outcome: Row[Any] | None) -> dict[str, Any]:
        shown = {name: getattr(row, name) for name in SHOWN_AS_STORED}
        return shown | {
            "prediction_id": row.id,
            "model_id": f"{row.model}:{row.version}",
            "features": name_features(self._columns[row.version_id], row.features, self.hidden),
            "prediction": row.output,
            "error": mask_error(row.error, self.hidden),
            "outcome": outcome and {name: getattr(outcome, name) for name in SHOWN_OF_OUTCOME},
        }
