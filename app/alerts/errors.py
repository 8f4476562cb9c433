"""How alerts say no."""

from dataclasses import dataclass

from app.core.errors import Conflict, Invalid, NotFound


@dataclass(eq=False)
class AlertRuleNotFound(NotFound):
    """There is no such alert rule."""

    rule: str

    def detail(self) -> str:
        return f"There is no alert rule {self.rule!r}."


@dataclass(eq=False)
class AlertRuleExists(Conflict):
    """An alert rule of this name exists."""

    rule: str

    def detail(self) -> str:
        return f"There is an alert rule {self.rule!r} already: change it with PUT or PATCH, or choose another name."


@dataclass(eq=False)
class NoDefaultRule(Conflict):
    """The alert rule is not one of those that are there from the start."""

    rule: str
    defaults: list[str]

    def detail(self) -> str:
        return f"{self.rule!r} has no default to go back to; these have: {', '.join(self.defaults)}."


@dataclass(eq=False)
class IncidentNotFound(NotFound):
    """There is no such incident."""

    incident_id: str

    def detail(self) -> str:
        return f"There is no incident {self.incident_id}."


@dataclass(eq=False)
class IncidentIsResolved(Conflict):
    """The incident is resolved already."""

    incident_id: str
    resolved_by: str | None
    """None when it resolved by itself."""

    def detail(self) -> str:
        return f"The incident was resolved already, {'by ' + self.resolved_by if self.resolved_by else 'by itself'}."


@dataclass(eq=False)
class AlreadyAcknowledged(Conflict):
    """Somebody has acknowledged the incident already."""

    incident_id: str
    acknowledged_by: str

    def detail(self) -> str:
        return f"{self.acknowledged_by} has acknowledged the incident already."


@dataclass(eq=False)
class SilenceNotFound(NotFound):
    """There is no such silence, or it is over."""

    silence_id: str

    def detail(self) -> str:
        return f"There is no silence {self.silence_id} that still holds."


@dataclass(eq=False)
class ChannelNotFound(NotFound):
    """There is no such channel."""

    channel: str

    def detail(self) -> str:
        return f"There is no channel {self.channel!r}."


@dataclass(eq=False)
class ChannelExists(Conflict):
    """A channel of this name exists."""

    channel: str

    def detail(self) -> str:
        return f"There is a channel {self.channel!r} already: delete it first, or choose another name."


@dataclass(eq=False)
class ChannelConfigured(Conflict):
    """The channel comes from the environment."""

    channel: str
    variable: str

    def detail(self) -> str:
        return f"{self.channel!r} comes from {self.variable}; change that and restart the service."


@dataclass(eq=False)
class ChannelInUse(Conflict):
    """Alert rules name the channel."""

    channel: str
    rules: list[str]

    def detail(self) -> str:
        return f"{self.channel!r} is named by the rules {', '.join(self.rules)}; take it out there first."


@dataclass(eq=False)
class SignsNothing(Conflict):
    """Only webhooks have a secret that their messages are signed with."""

    channel: str
    kind: str

    def detail(self) -> str:
        return f"{self.channel!r} is a channel of the kind {self.kind}, which has none; only a webhook has."


@dataclass(eq=False)
class ChannelUnreadable(Conflict):
    """What the channel knows was sealed under a key that this service does not have."""

    channel: str

    def detail(self) -> str:
        return (
            f"What {self.channel!r} knows was sealed under another key. Bring the key file of channels back, "
            "or delete the channel and make it again."
        )


@dataclass(eq=False)
class TooManySecrets(Conflict):
    """As many earlier secrets of the webhook sign beside its present one as may."""

    channel: str
    most: int

    def detail(self) -> str:
        return (
            f"{self.most} earlier secrets of {self.channel!r} sign beside its present one. Wait until one of them has "
            "ended, or rotate with `grace_hours` 0, which ends them all at once."
        )


@dataclass(eq=False)
class TargetRefused(Invalid):
    """The service may not connect to this address.

    Private, loopback and link-local addresses are refused unless `SWITCHYARD_ALLOWED_TARGETS` names their network.
    """

    host: str
    address: str

    def detail(self) -> str:
        return (
            f"{self.host} is at {self.address}, which is not a public address; "
            "SWITCHYARD_ALLOWED_TARGETS can allow its network"
        )


@dataclass(eq=False)
class DeliveryNotFound(NotFound):
    """There is no such delivery."""

    delivery_id: str

    def detail(self) -> str:
        return f"There is no delivery {self.delivery_id}."
