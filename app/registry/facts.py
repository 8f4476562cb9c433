"""What happens in the registry."""

from dataclasses import dataclass
from typing import Any

from app.core.facts import Fact

CHANNEL = "registry"
"""Where replicas are told which model's references may mean something else now."""


@dataclass(frozen=True)
class ModelFact(Fact):
    """Something that happened to a model."""

    model: str

    @property
    def subject(self) -> str:
        """`model:<name>`."""
        return f"model:{self.model}"


@dataclass(frozen=True)
class VersionFact(ModelFact):
    """Something that happened to a version."""

    version: int

    @property
    def subject(self) -> str:
        """`model:<name>:<number>`."""
        return f"model:{self.model}:{self.version}"


@dataclass(frozen=True)
class ModelCreated(ModelFact):
    """A name was registered for the first time."""


@dataclass(frozen=True)
class ModelEdited(ModelFact):
    """A model's description, tags or settings were changed."""

    changes: dict[str, Any]


@dataclass(frozen=True)
class ModelDeleted(ModelFact):
    """A model and all of its versions were deleted."""


@dataclass(frozen=True)
class VersionRegistered(VersionFact):
    """A version was registered."""

    semantic_version: str
    artifact_digest: str


@dataclass(frozen=True)
class VersionEdited(VersionFact):
    """A version's description or tags were changed."""

    changes: dict[str, Any]


@dataclass(frozen=True)
class StageMoved(VersionFact):
    """A version went from one stage to another."""

    origin: str
    goal: str
    reason: str
    environment: str | None = None


@dataclass(frozen=True)
class VersionDeleted(VersionFact):
    """A version was deleted."""

    artifact_digest: str


@dataclass(frozen=True)
class AliasSet(VersionFact):
    """An alias points to this version from now on."""

    alias: str


@dataclass(frozen=True)
class AliasDropped(ModelFact):
    """An alias no longer points anywhere."""

    alias: str


@dataclass(frozen=True)
class GateJudged(VersionFact):
    """The gate before a stage was tried."""

    goal: str
    passed: bool
    failed_checks: list[str]
    forced_by: str | None = None


@dataclass(frozen=True)
class ArtifactCorrupted(VersionFact):
    """A version's bytes are not what was registered; it was not loaded."""

    problem: str


@dataclass(frozen=True)
class ServingFormChosen(VersionFact):
    """A version is served in another form than its artifact's, which was proved to answer alike."""

    form: str
    proof: dict[str, Any]
