"""What a model reference leads to: a route or one version, and how the answers are logged."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import ClassVar, Protocol
from uuid import UUID

from app.traffic.live import Choice
from app.traffic.rules import Shadow


class LogMode(StrEnum):
    """What has to be safe before an answer is given."""

    DURABLE = "durable"  # the record outlives this process
    FSYNC = "fsync"  # it outlives a loss of power
    SAMPLED = "sampled"  # some requests are not recorded, and the rest say how likely they were to be


class Route(Protocol):
    """Who answers whom."""

    @property
    def revision(self) -> int | None:
        """The revision of traffic that says so; None where the caller named the version."""

    @property
    def shadows(self) -> Sequence[Shadow]:
        """The versions that score requests unseen."""

    @property
    def arm_names(self) -> Sequence[str]:
        """The names of all arms."""

    def choose(self, entity_key: str | None) -> Choice:
        """The arm of an entity, the same one while the weights stay; for none, any arm by weight."""

    def find_arm(self, name: str) -> Choice | None:
        """The arm of this name."""


@dataclass(frozen=True)
class DirectRoute:
    """The route of a caller who named the version: no revision, no arms, no shadows."""

    version_id: UUID
    revision: ClassVar[None] = None
    shadows: ClassVar[tuple[Shadow, ...]] = ()
    arm_names: ClassVar[tuple[str, ...]] = ()

    def choose(self, entity_key: str | None) -> Choice:
        """The version, whoever asks."""
        del entity_key
        return self._choice

    @cached_property
    def _choice(self) -> Choice:
        return Choice("", self.version_id, 1.0)

    def find_arm(self, name: str) -> Choice | None:
        """None: a version has no arms."""
        del name
        return None


@dataclass(frozen=True, slots=True)
class Line:
    """Where the requests under one reference go, and how they are logged."""

    route: Route
    log_mode: LogMode = LogMode.DURABLE
    log_probability: float = 1.0


class Lines(Protocol):
    """Knows what every model reference leads to."""

    def find(self, reference: str, environment: str) -> Line | None:
        """The line of a reference, if it is in memory."""

    async def resolve(self, reference: str, environment: str) -> Line:
        """The line of a reference, from memory wherever it was asked for before.

        Raises:
            Refusal: the reference leads nowhere.
        """
