"""What happens to rules, incidents, silences and channels."""

from dataclasses import dataclass
from typing import Any

from app.core.facts import Fact


@dataclass(frozen=True)
class RuleFact(Fact):
    """Something that happened to a rule."""

    rule: str

    @property
    def subject(self) -> str:
        """`alert-rule:<name>`."""
        return f"alert-rule:{self.rule}"


@dataclass(frozen=True)
class AlertRuleMade(RuleFact):
    """A rule holds from now on."""

    terms: dict[str, Any]


@dataclass(frozen=True)
class AlertRuleChanged(RuleFact):
    """A rule has other terms from now on."""

    terms: dict[str, Any]
    replaced: dict[str, Any]


@dataclass(frozen=True)
class AlertRuleDeleted(RuleFact):
    """A rule holds no more."""

    replaced: dict[str, Any]


@dataclass(frozen=True)
class IncidentFact(Fact):
    """Something that happened to an incident."""

    incident_id: str
    rule: str
    about: str
    severity: str

    @property
    def subject(self) -> str:
        """What the incident is about: `model:<name>`, `pipeline:<name>`."""
        return self.about


@dataclass(frozen=True)
class IncidentOpened(IncidentFact):
    """A signal is unwell."""

    value: float
    threshold: float


@dataclass(frozen=True)
class IncidentAcknowledged(IncidentFact):
    """Somebody has seen it and sees to it."""

    note: str


@dataclass(frozen=True)
class IncidentResolved(IncidentFact):
    """It is well again, or somebody says so."""

    by_itself: bool
    note: str


@dataclass(frozen=True)
class SilenceMade(Fact):
    """Incidents are not told until then."""

    silence_id: str
    rule: str | None
    model: str | None
    until: str
    reason: str

    @property
    def subject(self) -> str:
        """The model, or else the rule."""
        return f"model:{self.model}" if self.model else f"alert-rule:{self.rule}"


@dataclass(frozen=True)
class SilenceEnded(SilenceMade):
    """Somebody ended a silence before its time."""


@dataclass(frozen=True)
class ChannelFact(Fact):
    """Something that happened to a channel."""

    channel: str
    kind: str

    @property
    def subject(self) -> str:
        """`alert-channel:<name>`."""
        return f"alert-channel:{self.channel}"


@dataclass(frozen=True)
class ChannelMade(ChannelFact):
    """Incidents can be told here from now on."""


@dataclass(frozen=True)
class ChannelDeleted(ChannelFact):
    """Nothing is told here any more."""


@dataclass(frozen=True)
class ChannelSecretRotated(ChannelFact):
    """Its messages are signed with another secret, and until then with the earlier one as well."""

    until: str


@dataclass(frozen=True)
class DeliveryGivenUp(Fact):
    """A message did not reach its channel, and is not tried again."""

    delivery_id: str
    channel: str
    attempts: int
    problem: str

    @property
    def subject(self) -> str:
        """`alert-channel:<name>`."""
        return f"alert-channel:{self.channel}"
