"""What happens to routes."""

from dataclasses import dataclass

from app.core.facts import Fact


@dataclass(frozen=True)
class RouteChanged(Fact):
    """A route has a new revision."""

    model: str
    environment: str
    revision: int
    kind: str
    weights: dict[str, float]
    reason: str

    @property
    def subject(self) -> str:
        """`model:<name>`."""
        return f"model:{self.model}"
