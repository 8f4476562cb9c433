"""How alerts say no."""

from dataclasses import dataclass

from app.core.errors import Conflict, Invalid, NotFound


@dataclass(eq=False)
class AlertRuleNotFound(NotFound):
    """There is no such alert rule.

    Rules are addressed by their names. No rule has this one: it was deleted, is spelt differently, or is about
    models that the key does not see.
    """

    rule: str

    def detail(self) -> str:
        return f"There is no alert rule {self.rule!r}."


@dataclass(eq=False)
class AlertRuleExists(Conflict):
    """An alert rule of this name exists.

    A rule's name is its address and part of each incident's fingerprint, so two rules can't share one. The rule
    that is there was not changed.
    """

    rule: str

    def detail(self) -> str:
        return f"There is an alert rule {self.rule!r} already: change it with PUT or PATCH, or choose another name."


@dataclass(eq=False)
class NoDefaultRule(Conflict):
    """The alert rule is not one of those that are there from the start.

    Only the rules that are there from the start have first terms to go back to. This one was made by somebody, or
    there is none of this name.
    """

    rule: str
    defaults: list[str]

    def detail(self) -> str:
        return f"{self.rule!r} has no default to go back to; these have: {', '.join(self.defaults)}."


@dataclass(eq=False)
class IncidentNotFound(NotFound):
    """There is no such incident.

    No incident has this id, or it is of a model that the key does not see. Incidents are forgotten 400 days after
    they were resolved.
    """

    incident_id: str

    def detail(self) -> str:
        return f"There is no incident {self.incident_id}."


@dataclass(eq=False)
class IncidentIsResolved(Conflict):
    """The incident is resolved already.

    An incident ends once: by itself when its signal is well again, or by somebody's hand. What is over can be
    neither acknowledged nor resolved; when it is unwell again, another incident opens.
    """

    incident_id: str
    resolved_by: str | None
    """None when it resolved by itself."""

    def detail(self) -> str:
        return f"The incident was resolved already, {'by ' + self.resolved_by if self.resolved_by else 'by itself'}."


@dataclass(eq=False)
class AlreadyAcknowledged(Conflict):
    """Somebody has acknowledged the incident already.

    Acknowledging says who sees to an incident, so that two people don't. Somebody was first, and the incident
    stays with that name.
    """

    incident_id: str
    acknowledged_by: str

    def detail(self) -> str:
        return f"{self.acknowledged_by} has acknowledged the incident already."


@dataclass(eq=False)
class SilenceNotFound(NotFound):
    """There is no such silence, or it is over.

    Silences end by themselves at their time, or when somebody ends them. This one is over already, was never
    made, or is not for this key to end.
    """

    silence_id: str

    def detail(self) -> str:
        return f"There is no silence {self.silence_id} that still holds."


@dataclass(eq=False)
class ChannelNotFound(NotFound):
    """There is no such channel.

    Channels are addressed by their names. No channel has this one: it was deleted, or the environment that
    brought it no longer does.
    """

    channel: str

    def detail(self) -> str:
        return f"There is no channel {self.channel!r}."


@dataclass(eq=False)
class ChannelExists(Conflict):
    """A channel of this name exists.

    Rules name channels, and messages that wait go to a name: a second channel of it would get what was meant for
    the first. The channel that is there was not changed.
    """

    channel: str

    def detail(self) -> str:
        return f"There is a channel {self.channel!r} already: delete it first, or choose another name."


@dataclass(eq=False)
class ChannelConfigured(Conflict):
    """The channel comes from the environment.

    This channel is made from a setting of the environment at every start, so it would come back if it were
    deleted here.
    """

    channel: str
    variable: str

    def detail(self) -> str:
        return f"{self.channel!r} comes from {self.variable}; change that and restart the service."


@dataclass(eq=False)
class ChannelInUse(Conflict):
    """Alert rules name the channel.

    Without the channel these rules would tell somewhere else than they say, or nowhere. So it stays as long as a
    rule names it.
    """

    channel: str
    rules: list[str]

    def detail(self) -> str:
        return f"{self.channel!r} is named by the rules {', '.join(self.rules)}; take it out there first."


@dataclass(eq=False)
class SignsNothing(Conflict):
    """Only webhooks have a secret that their messages are signed with.

    Messages to a webhook carry a signature after Standard Webhooks, made with a secret of the channel. Slack,
    PagerDuty, e-mail and apprise have their own ways, and no secret of ours that could be rotated.
    """

    channel: str
    kind: str

    def detail(self) -> str:
        return f"{self.channel!r} is a channel of the kind {self.kind}, which has none; only a webhook has."


@dataclass(eq=False)
class ChannelUnreadable(Conflict):
    """What the channel knows was sealed under a key that this service does not have.

    Addresses and secrets of channels are encrypted with a key from a file beside the database. This channel was
    sealed with another key than the service has: the file was replaced or lost, or this replica has its own.
    """

    channel: str

    def detail(self) -> str:
        return (
            f"What {self.channel!r} knows was sealed under another key. Bring the key file of channels back, "
            "or delete the channel and make it again."
        )


@dataclass(eq=False)
class TooManySecrets(Conflict):
    """As many earlier secrets of the webhook sign beside its present one as may.

    Each earlier secret that is still in its time of grace is one more signature in the header of every message.
    There are as many as that header may carry.
    """

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
    """There is no such delivery.

    No delivery has this id, or it tells of an incident that the key does not see. Deliveries are forgotten 90
    days after they arrived or were given up.
    """

    delivery_id: str

    def detail(self) -> str:
        return f"There is no delivery {self.delivery_id}."
