"""How the registry says no."""

from dataclasses import dataclass

from app.core.access import ModelNotFound as ModelNotFound  # noqa: PLC0414 - the one that hides models from limited keys
from app.core.errors import Conflict, Forbidden, Invalid, Malformed, NotFound, Unavailable
from app.registry.rules import nearest_name


@dataclass(eq=False)
class BadReference(Malformed):
    """This is no model reference."""

    reference: str
    problem: str

    def detail(self) -> str:
        return f"{self.problem}. A reference is name, name:3, name:2.1.0 or name@alias."


@dataclass(eq=False)
class BadModelName(Invalid):
    """This can't be a model's name."""

    name: str

    def detail(self) -> str:
        return (
            f"name: {self.name!r} can't be used: letters, digits, '.', '_', '-' and inner spaces, at most 128, beginning with "
            f"a letter or digit, and not a word of the API. The nearest legal name is {nearest_name(self.name)!r}."
        )

    def members(self) -> dict[str, str]:
        return {"name": self.name, "suggestion": nearest_name(self.name)}


@dataclass(eq=False)
class NameTooClose(Conflict):
    """A model with nearly the same name exists."""

    name: str
    existing: str

    def detail(self) -> str:
        return f"name: {self.name!r} differs from the existing model {self.existing!r} only in case or spelling; use that one"


@dataclass(eq=False)
class BadAlias(Invalid):
    """This can't be an alias."""

    alias: str
    problem: str

    def detail(self) -> str:
        return f"alias: {self.problem}"


@dataclass(eq=False)
class VersionNotFound(NotFound):
    """There is no such version."""

    model_reference: str
    existing: list[str]

    def detail(self) -> str:
        there = (
            f"The latest are {', '.join(self.existing)}."
            if self.existing
            else "The model has no version yet."
        )
        return f"There is no version {self.model_reference!r}. {there}"


@dataclass(eq=False)
class NoProductionVersion(NotFound):
    """The model has no version in production."""

    model: str
    environment: str
    candidates: list[str]

    def detail(self) -> str:
        others = f" Name one ({', '.join(self.candidates)}) or promote it." if self.candidates else ""
        return f"{self.model!r} has no version in {self.environment}.{others}"


@dataclass(eq=False)
class VersionNeeded(Malformed):
    """This needs a version, not only a model's name."""

    model: str
    candidates: list[str]

    def detail(self) -> str:
        return f"Say which version of {self.model!r} is meant: {', '.join(self.candidates) or 'it has none yet'}."


@dataclass(eq=False)
class SemanticVersionTaken(Conflict):
    """The semantic version was used before."""

    model: str
    semantic_version: str

    def detail(self) -> str:
        return (
            f"semantic_version: {self.model} {self.semantic_version} was used before and is never used again, deleted or "
            "not; leave it out to have the next one chosen"
        )


@dataclass(eq=False)
class IllegalMove(Conflict):
    """A version can't go from its stage to that one."""

    model_reference: str
    stage: str
    goal: str
    allowed: list[str]

    def detail(self) -> str:
        return f"{self.model_reference} is in {self.stage}; from there it can go to {', '.join(self.allowed)}, not to {self.goal}."


@dataclass(eq=False)
class GateClosed(Conflict):
    """The version did not pass the gate."""

    model_reference: str
    goal: str
    failed: list[dict[str, object]]

    def detail(self) -> str:
        reasons = "; ".join(f"{check['check']}: {check['finding']}" for check in self.failed)
        way_out = "Register a better version, or have an admin force it with a `reason`."
        return f"{self.model_reference} may not go to {self.goal}: {reasons}. {way_out}"


@dataclass(eq=False)
class ForceNeedsAdmin(Forbidden):
    """Only an administrator may force a gate, and only with a reason."""

    has: str

    def detail(self) -> str:
        return f"force: needs the role admin and a `reason`; the caller has the role {self.has}"


@dataclass(eq=False)
class StillNeeded(Conflict):
    """The version is in use."""

    model_reference: str
    needed_by: list[str]

    def detail(self) -> str:
        return f"{self.model_reference} can't be deleted or archived while it is needed by: {', '.join(self.needed_by)}"


@dataclass(eq=False)
class ModelUnknownColumn(Invalid):
    """A setting names a column that the model does not have."""

    field: str
    columns: list[str]

    def detail(self) -> str:
        return f"{self.field}: the model has no column {', '.join(map(repr, self.columns))}"


@dataclass(eq=False)
class AliasNotFound(NotFound):
    """There is no such alias."""

    model: str
    alias: str

    def detail(self) -> str:
        return f"{self.model!r} has no alias {self.alias!r}."


@dataclass(eq=False)
class NotOfAVersion(Invalid):
    """These settings belong to the model, not to one version of it."""

    fields: list[str]
    model: str

    def detail(self) -> str:
        return f"{', '.join(self.fields)}: set for the whole model; send them to {self.model!r} without a version"


@dataclass(eq=False)
class NoSuchFile(NotFound):
    """The artifact has no such file."""

    model_reference: str
    path: str | None
    files: list[str]

    def detail(self) -> str:
        asked = (
            "say which file is meant with `path`" if self.path is None else f"there is no file {self.path!r}"
        )
        return f"{self.model_reference}: {asked}; it has {', '.join(self.files[:20])}"


class FilesCleanedAway(Unavailable):
    """Clean-up took these very files while they were being registered."""

    def detail(self) -> str:
        return "They had been in the store for a day without a version, and were let go just now; send the registration again."
