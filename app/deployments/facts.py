"""What happens to deployments."""

from dataclasses import dataclass

from app.core.facts import Fact


@dataclass(frozen=True)
class DeploymentFact(Fact):
    """Something that happened to a deployment of a version."""

    model: str
    version: int
    environment: str
    deployment_id: str

    @property
    def subject(self) -> str:
        """`model:<name>:<number>`."""
        return f"model:{self.model}:{self.version}"


@dataclass(frozen=True)
class DeploymentStarted(DeploymentFact):
    """A version is being prepared on every replica."""

    strategy: str
    kind: str


@dataclass(frozen=True)
class VersionPromoted(DeploymentFact):
    """A version answers production traffic from this revision on."""

    revision: int
    replaced: int | None
    reason: str


@dataclass(frozen=True)
class VersionRolledBack(DeploymentFact):
    """Traffic went back to an earlier version."""

    revision: int
    replaced: int | None
    reason: str


@dataclass(frozen=True)
class DeploymentFailed(DeploymentFact):
    """A version could not be prepared; traffic stayed as it was."""

    problem: str


@dataclass(frozen=True)
class DeploymentAborted(DeploymentFact):
    """Somebody called a deployment off; traffic stayed as it was."""

    reason: str


@dataclass(frozen=True)
class VersionWithdrawn(Fact):
    """A model answers no more traffic in an environment."""

    model: str
    version: int
    environment: str
    reason: str

    @property
    def subject(self) -> str:
        """`model:<name>:<number>`."""
        return f"model:{self.model}:{self.version}"
