"""How deployments say no."""

from dataclasses import dataclass

from app.core.errors import Conflict, NotFound


@dataclass(eq=False)
class DeploymentNotFound(NotFound):
    """There is no such deployment."""

    deployment_id: str

    def detail(self) -> str:
        return f"There is no deployment {self.deployment_id}."


@dataclass(eq=False)
class DeploymentUnderway(Conflict):
    """Another deployment of this model is under way."""

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
    """The deployment has ended."""

    deployment_id: str
    phase: str

    def detail(self) -> str:
        return f"The deployment is {self.phase} already; what it did can be rolled back, not aborted."


@dataclass(eq=False)
class NothingToRollBackTo(Conflict):
    """The model has no earlier production version."""

    model: str
    environment: str

    def detail(self) -> str:
        return f"{self.model} has no version that was in {self.environment} before; name one with `to`, or promote another"


@dataclass(eq=False)
class AlreadyServing(Conflict):
    """The version answers this traffic already."""

    model_reference: str
    environment: str

    def detail(self) -> str:
        return f"{self.model_reference} is in {self.environment} already"


@dataclass(eq=False)
class ChampionChanged(Conflict):
    """Production changed while the version was at the gate."""

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
    """The rollback names a version of another model, or one that never was in production."""

    model: str
    to: str

    def detail(self) -> str:
        return f"to: {self.to} was never in production as {self.model}; promote it instead"
