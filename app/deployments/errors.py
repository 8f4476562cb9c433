"""How deployments say no."""

from dataclasses import dataclass

from app.core.errors import Conflict, NotFound


@dataclass(eq=False)
class DeploymentNotFound(NotFound):
    """There is no such deployment.

    No deployment has this id, or it is of a model that the key does not see.
    """

    deployment_id: str

    def detail(self) -> str:
        return f"There is no deployment {self.deployment_id}."


@dataclass(eq=False)
class DeploymentUnderway(Conflict):
    """Another deployment of this model is under way.

    One deployment at a time changes what answers for a model in an environment. Another one has not ended yet.
    """

    model: str
    environment: str
    deployment_id: str | None
    """None while the other one has not been committed."""

    def detail(self) -> str:
        place = f"{self.model} is being deployed in {self.environment}"
        if self.deployment_id is None:
            return f"{place} at this very moment; look at what it led to and try again"
        return f"{place} already: wait for /api/deployments/{self.deployment_id}, or abort it"


@dataclass(eq=False)
class DeploymentSettled(Conflict):
    """The deployment has ended.

    The deployment has ended, well or not, so there is nothing left of it to abort.
    """

    deployment_id: str
    phase: str

    def detail(self) -> str:
        return f"The deployment is {self.phase} already; what it did can be rolled back, not aborted."


@dataclass(eq=False)
class NothingToRollBackTo(Conflict):
    """The model has no earlier production version.

    A rollback returns to the version that was in production before. This model has had no other one there.
    """

    model: str
    environment: str

    def detail(self) -> str:
        return f"{self.model} has no version that was in {self.environment} before; name one with `to`, or promote another"


@dataclass(eq=False)
class AlreadyServing(Conflict):
    """The version answers this traffic already.

    The version that was to be promoted is the one that answers now. Nothing was changed.
    """

    model_reference: str
    environment: str

    def detail(self) -> str:
        return f"{self.model_reference} is in {self.environment} already"


@dataclass(eq=False)
class ChampionChanged(Conflict):
    """Production changed while the version was at the gate.

    A version is checked against the one that is in production. While the checks ran, another one was put there,
    so their result says nothing about what answers now.
    """

    model_reference: str
    environment: str
    champion: str | None

    def detail(self) -> str:
        now = f"{self.champion} is" if self.champion else "nothing is"
        return (
            f"{now} in {self.environment} now, and the gate held {self.model_reference} against what was there before; "
            "promote it again, so that it is tried against what answers now"
        )


@dataclass(eq=False)
class NotOfThisModel(Conflict):
    """The rollback names a version of another model, or one that never was in production.

    A rollback goes back to what has been in production for this model. The version that `to` names never was.
    """

    model: str
    to: str

    def detail(self) -> str:
        return f"to: {self.to} was never in production as {self.model}; promote it instead"
