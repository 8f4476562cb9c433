"""Rows that somebody sends to be looked at: counted along a plan, part by part, and what is wrong with those that don't fit."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from app.runtimes.profiles import Answered, Plan, columns_of
from app.runtimes.rows import parse_rows
from app.runtimes.schema import Signature
from app.stats.profile import Profile

PART_ROWS = 1000

Reason = tuple[str | None, str]
"""A column, or None for the row as a whole, and what is wrong with it."""


@dataclass
class Tally:
    """What is known of some rows.

    Attributes:
        plan: along which they are counted.
        signature: which they should fit.
        rows: how many do.
        refused: how many don't.
        reasons: why, and how many rows for each reason, in the order in which they were met; a row may have several.
        profile: of those that fit; None while there is none.
    """

    plan: Plan
    signature: Signature
    rows: int = 0
    refused: int = 0
    reasons: Counter[Reason] = field(default_factory=Counter)
    profile: Profile | None = None
    _different: set[tuple[Any, ...]] = field(default_factory=set)

    @property
    def repeated(self) -> int:
        """How many of the rows that fit have the same values as another one of them."""
        return self.rows - len(self._different)

    def add(self, instances: Sequence[Any]) -> None:
        """Count further rows, in the form in which a caller would send them for a prediction.

        Raises:
            Refusal: they are no rows at all.
        """
        part = parse_rows({"instances": instances}, self.signature, max_rows=len(instances))
        self.rows += len(part.good)
        self.refused += part.count - len(part.good)
        for problems in part.errors.values():
            self.reasons.update(list(dict.fromkeys((each.column, each.problem) for each in problems)))
        self._different.update(map(tuple, part.values))
        if part.good:
            columns = columns_of(part.matrix, part.values, self.signature.types)
            profile = self.plan.profile(Answered(columns))
            self.profile = profile if self.profile is None else self.profile + profile
