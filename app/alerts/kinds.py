"""The kinds of channels, of messages, and where a message stands."""

from enum import StrEnum


class ChannelKind(StrEnum):
    """How a channel is spoken to."""

    WEBHOOK = "webhook"
    SLACK = "slack"
    PAGERDUTY = "pagerduty"
    EMAIL = "email"
    APPRISE = "apprise"


class Event(StrEnum):
    """What a message tells."""

    OPENED = "opened"
    RESOLVED = "resolved"
    TEST = "test"


class DeliveryState(StrEnum):
    """Where a delivery stands; only the first is open."""

    QUEUED = "queued"
    DELIVERED = "delivered"
    GIVEN_UP = "given_up"
