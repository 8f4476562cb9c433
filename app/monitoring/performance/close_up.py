"""What a check is asked to tell besides, from the latest rows of its window, read once for all of it."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.evidence.latest import Latest, read_latest
from app.evidence.outcome_windows import Cohort
from app.evidence.queries import target_of
from app.evidence.realised import has_labels
from app.evidence.rules import DETECTED
from app.monitoring.kinds import PerformanceFinding
from app.monitoring.parameters import place_of
from app.monitoring.performance import close_looks as looks
from app.monitoring.performance.estimating import Estimated, estimate
from app.monitoring.performance.formulas import read_formula, require_labels, require_numbers
from app.monitoring.performance.looking import PerformanceSeen, PerformanceTerms
from app.monitoring.performance.schemas import PerformanceCheck
from app.runtimes.schema import Signature, Task

if TYPE_CHECKING:
    from app.stats.formula import Formula

BEFORE = timedelta(days=90)
"""How far before a window labelled rows are looked for that it can be held against."""


@dataclass(frozen=True)
class _Asked:
    """What is wanted, made sure of before anything is read."""

    order: PerformanceCheck
    signature: Signature
    formula: "Formula | None"
    slice_by: int | None
    sensitive: int | None
    favourable: Any
    causes: bool


@dataclass(frozen=True)
class CloseUp:
    """What was told of the latest rows: each member as an answer tells it, none where nobody asked."""

    told: dict[str, Any]
    estimated: Estimated | None = None

    @property
    def has_fallen(self) -> bool:
        """Whether performance is estimated to be past the threshold, beyond what chance makes of it."""
        judgement = self.estimated.judgement if self.estimated else None
        return judgement is not None and judgement.finding == PerformanceFinding.FALLEN


@dataclass(frozen=True)
class CloseReader:
    """Reads the rows of one check, and tells what was asked of them; each threadful of work by itself."""

    session: AsyncSession
    model_id: UUID
    model: str
    signature: Signature
    cohort: Cohort
    seen: PerformanceSeen
    terms: PerformanceTerms

    async def tell(self, order: PerformanceCheck) -> CloseUp:
        """All that was asked besides.

        Raises:
            FieldProblem: a column, a class or a formula is none.
        """
        asked = await asyncio.to_thread(_read_order, order, self.signature, has_fallen=self._has_fallen)
        if asked.formula is not None:
            await self._require_comparable(asked.formula)
        told, before = await self._tell_labelled(asked), Latest.none()
        if asked.sensitive is not None:
            told["fairness"] = await self._tell_fairness(asked)
        if asked.causes or order.estimate:
            before = await self._before(with_features=asked.causes or self._is_regression)
        if asked.causes:
            told["causes"] = await self._tell_causes(before)
        return CloseUp(told, await self._estimate(before) if order.estimate else None)

    async def _require_comparable(self, formula: "Formula") -> None:
        if self._is_regression:
            require_numbers(formula)
        else:
            require_labels(formula, await self._labels())

    async def _labels(self) -> dict[str, Sequence[Any] | None]:
        """What answers of this version and truths can be: of these a newer version may know more."""
        mine = DETECTED.classes if self.signature.is_detector else self.signature.classes
        target = await target_of(self.session, self.model_id)
        return (
            {"prediction": mine, "actual": target.classes}
            if has_labels(self.signature)
            else {"prediction": None, "actual": None}
        )

    @property
    def _has_fallen(self) -> bool:
        return self.seen.judgement.finding == PerformanceFinding.FALLEN

    @property
    def _is_regression(self) -> bool:
        return self.signature.task == Task.REGRESSION

    async def _tell_labelled(self, asked: _Asked) -> dict[str, Any]:
        if not (asked.formula or asked.order.returns or asked.slice_by is not None):
            return {}
        rows = await self._mature(with_features=asked.slice_by is not None)
        return await asyncio.to_thread(_tell_labelled, asked, rows, self.terms)

    async def _tell_fairness(self, asked: _Asked) -> dict[str, Any]:
        rows = await self._window(with_features=True)
        assert asked.sensitive is not None
        return await asyncio.to_thread(
            looks.tell_fairness, self.signature, rows, asked.sensitive, asked.favourable, self.terms.false_alarms
        )  # fmt: skip

    async def _tell_causes(self, before: Latest) -> dict[str, Any]:
        rows = await self._mature(with_features=True)
        return await asyncio.to_thread(
            looks.tell_causes, self.signature, before, rows, self.terms.false_alarms
        )

    async def _estimate(self, before: Latest) -> Estimated:
        rows = await self._window(with_features=self._is_regression)
        terms = {
            "threshold": self.terms.threshold, "alpha": self.terms.false_alarms,
            "design_effect": self.terms.design_effect or 1.0,
        }  # fmt: skip
        return await asyncio.to_thread(estimate, self.signature, before, rows, self.seen.was, **terms)

    async def _mature(self, *, with_features: bool) -> Latest:
        period = self.seen.period
        until = min(period.until, period.mature)
        return await self._read(period.since, until, only_labelled=True, with_features=with_features)

    async def _window(self, *, with_features: bool) -> Latest:
        period = self.seen.period
        return await self._read(period.since, period.until, with_features=with_features)

    async def _before(self, *, with_features: bool) -> Latest:
        until = self.seen.period.since
        return await self._read(until - BEFORE, until, only_labelled=True, with_features=with_features)

    async def _read(
        self, since: datetime, until: datetime, *, only_labelled: bool = False, with_features: bool
    ) -> Latest:
        return await read_latest(
            self.session, self.model, self.cohort,
            since=since, until=until, only_labelled=only_labelled, with_features=with_features,
        )  # fmt: skip


def _read_order(order: PerformanceCheck, signature: Signature, *, has_fallen: bool) -> _Asked:
    by, people = order.slice_by, order.sensitive
    return _Asked(
        order,
        signature,
        None if order.value is None else read_formula(order.value),
        None if by is None else place_of(signature, by, "slice_by"),
        None if people is None else place_of(signature, people, "sensitive"),
        None if people is None else looks.favourable_class(signature, order.favourable),
        order.causes if order.causes is not None else has_fallen,
    )


def _tell_labelled(asked: _Asked, rows: Latest, terms: PerformanceTerms) -> dict[str, Any]:
    told: dict[str, Any] = {}
    alpha, effect = terms.false_alarms, terms.design_effect or 1.0
    if asked.formula is not None:
        told["value"] = looks.tell_worth(asked.formula, rows, alpha)
    if asked.order.returns:
        told["returns"] = looks.tell_returns(rows, asked.order.periods_per_year, alpha)
    if asked.slice_by is not None:
        slices = looks.tell_slices(asked.signature, rows, asked.slice_by, alpha, design_effect=effect)
        told["slices"] = {"column": asked.order.slice_by, "labelled": len(rows), "groups": slices}
    return told
