"""What a benchmark measured, beside what it should."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One measured value and its target, a least value unless it is `at_most`."""

    name: str
    measured: float
    target: float
    unit: str
    at_most: bool = False

    @property
    def is_met(self) -> bool:
        return self.measured <= self.target if self.at_most else self.measured >= self.target

    def __str__(self) -> str:
        sign, verdict = "≤" if self.at_most else "≥", "ok" if self.is_met else "short"
        return f"{self.name:58} {self.measured:>10,.3g} {sign} {self.target:>7,.4g} {self.unit:8} {verdict}"
