"""How the registry says no."""

from dataclasses import dataclass

from app.core.access import ModelNotFound as ModelNotFound  # noqa: PLC0414 - the one that hides models from limited keys
from app.core.errors import Conflict, Forbidden, Invalid, Malformed, NotFound, Unavailable
from app.registry.rules import nearest_name


@dataclass(eq=False)
class BadReference(Malformed):
    """This is no model reference.

    Models and versions are named in one way everywhere: `churn`, `churn:3`, `churn:2.1.0` or `churn@champion`.
    The text is none of these.
    """

    reference: str
    problem: str

    def detail(self) -> str:
        return f"{self.problem}. A reference is name, name:3, name:2.1.0 or name@alias."


@dataclass(eq=False)
class BadModelName(Invalid):
    """This can't be a model's name.

    Names stand in addresses, files and metrics, so they are short and plain: letters, digits, `.`, `_`, `-` and
    spaces within.
    """

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
    """A model with nearly the same name exists.

    Two models whose names differ only in case or spelling would be taken for each other, by people and by some
    file systems. So the second is refused when it is to be made.
    """

    name: str
    existing: str

    def detail(self) -> str:
        return f"name: {self.name!r} differs from the existing model {self.existing!r} only in case or spelling; use that one"


@dataclass(eq=False)
class BadAlias(Invalid):
    """This can't be an alias.

    An alias follows the model's name after an `@`. It has letters, digits, `_` and `-` only, and is neither
    `latest` nor like `v3`, which would be mistaken for versions.
    """

    alias: str
    problem: str

    def detail(self) -> str:
        return f"alias: {self.problem}"


@dataclass(eq=False)
class VersionNotFound(NotFound):
    """There is no such version.

    The model is known, and none of its versions has this number, semantic version or alias. It was never
    registered, or it was deleted.
    """

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
    """The model has no version in production.

    A model's name alone means the version that is in production. None is: none was promoted yet, the last one was
    withdrawn, or it is in another environment.
    """

    model: str
    environment: str
    candidates: list[str]

    def detail(self) -> str:
        others = f" Name one ({', '.join(self.candidates)}) or promote it." if self.candidates else ""
        return f"{self.model!r} has no version in {self.environment}.{others}"


@dataclass(eq=False)
class VersionNeeded(Malformed):
    """This needs a version, not only a model's name.

    What was asked concerns one version, and a bare name could mean any of them.
    """

    model: str
    candidates: list[str]

    def detail(self) -> str:
        return f"Say which version of {self.model!r} is meant: {', '.join(self.candidates) or 'it has none yet'}."


@dataclass(eq=False)
class SemanticVersionTaken(Conflict):
    """The semantic version was used before.

    A semantic version means the same bytes for ever, in logs and reports as well. So it is never given again, not
    even when its version was deleted.
    """

    model: str
    semantic_version: str

    def detail(self) -> str:
        return (
            f"semantic_version: {self.model} {self.semantic_version} was used before and is never used again, deleted or "
            "not; leave it out to have the next one chosen"
        )


@dataclass(eq=False)
class IllegalMove(Conflict):
    """A version can't go from its stage to that one.

    Versions go through stages in an order: `training`, `validation`, `staging`, `production`, `deprecated`; an
    archived one comes back to `validation`. The stage that was asked for does not follow the one that the version
    is in.
    """

    model_reference: str
    stage: str
    goal: str
    allowed: list[str]

    def detail(self) -> str:
        return f"{self.model_reference} is in {self.stage}; from there it can go to {', '.join(self.allowed)}, not to {self.goal}."


@dataclass(eq=False)
class GateClosed(Conflict):
    """The version did not pass the gate.

    Before a version goes on, checks are run against the model's gates and against the version in production. At
    least one of them found the version wanting; nothing was changed.
    """

    model_reference: str
    goal: str
    failed: list[dict[str, object]]

    def detail(self) -> str:
        reasons = "; ".join(f"{check['check']}: {check['finding']}" for check in self.failed)
        way_out = "Register a better version, or have an admin force it with a `reason`."
        return f"{self.model_reference} may not go to {self.goal}: {reasons}. {way_out}"


@dataclass(eq=False)
class ForceNeedsAdmin(Forbidden):
    """Only an administrator may force a gate, and only with a reason.

    Forcing overrides the checks that keep a bad version from production, so it takes the role `admin` and leaves
    its reason in the audit trail.
    """

    has: str

    def detail(self) -> str:
        return f"force: needs the role admin and a `reason`; the caller has the role {self.has}"


@dataclass(eq=False)
class StillNeeded(Conflict):
    """The version is in use.

    Requests are answered, or will be, by this version: it is in production, on a route, under an alias, or held.
    Without it they would fail.
    """

    model_reference: str
    needed_by: list[str]

    def detail(self) -> str:
        return f"{self.model_reference} can't be deleted or archived while it is needed by: {', '.join(self.needed_by)}"


@dataclass(eq=False)
class ModelUnknownColumn(Invalid):
    """A setting names a column that the model does not have.

    Settings such as sensitive columns are held against the model's signature. The signature has no such column.
    """

    field: str
    columns: list[str]

    def detail(self) -> str:
        return f"{self.field}: the model has no column {', '.join(map(repr, self.columns))}"


@dataclass(eq=False)
class AliasNotFound(NotFound):
    """There is no such alias.

    The model is known, and none of its versions has this alias. It was never set, or was removed.
    """

    model: str
    alias: str

    def detail(self) -> str:
        return f"{self.model!r} has no alias {self.alias!r}."


@dataclass(eq=False)
class NotOfAVersion(Invalid):
    """These settings belong to the model, not to one version of it.

    Some settings, such as the gates, the sensitive columns and the log mode, are the model's own, so that its
    next version has them too. A version has a description and tags of its own.
    """

    fields: list[str]
    model: str

    def detail(self) -> str:
        return f"{', '.join(self.fields)}: set for the whole model; send them to {self.model!r} without a version"


@dataclass(eq=False)
class NoSuchFile(NotFound):
    """The artifact has no such file.

    An artifact is the files that were registered, each under its path. None has this path, or there are several
    and none was named.
    """

    model_reference: str
    path: str | None
    files: list[str]

    def detail(self) -> str:
        asked = (
            "say which file is meant with `path`" if self.path is None else f"there is no file {self.path!r}"
        )
        return f"{self.model_reference}: {asked}; it has {', '.join(self.files[:20])}"


class FilesCleanedAway(Unavailable):
    """Clean-up took these very files while they were being registered.

    Files that belong to no version are let go after a day. These had lain that long, and clean-up came between
    the upload and the registration.
    """

    def detail(self) -> str:
        return "They had been in the store for a day without a version, and were let go just now; send the registration again."
