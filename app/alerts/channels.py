"""Channels: made and deleted by people, or brought by the environment; their secrets are sealed before they are stored."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import delete
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.alerts.deliveries import queue_delivery
from app.alerts.errors import (
    ChannelConfigured,
    ChannelExists,
    ChannelInUse,
    ChannelUnreadable,
    SignsNothing,
    TooManySecrets,
)
from app.alerts.facts import ChannelDeleted, ChannelMade, ChannelSecretRotated
from app.alerts.kinds import ChannelKind, Event
from app.alerts.queries import get_channel, list_rules_naming, lock_channel
from app.alerts.sealing import Vault
from app.alerts.signing import new_secret, still_signing, with_secret
from app.alerts.tables import Channel, Delivery
from app.artifacts.encryption import TamperedError, UnknownKeyError
from app.core import clock
from app.core.config import Settings, variable_of
from app.core.database import Actor, Database
from app.core.facts import announce

MOST_EARLIER_SECRETS = 4  # each is another signature in the header of every message
BOOTSTRAP = Actor("bootstrap", "system")
FROM_ENVIRONMENT = {"slack": "slack_webhook_url", "email": "email_notifications"}
"""The channels that the environment can bring, and the setting that brings each."""


@dataclass(frozen=True)
class Draft:
    """A channel to be: what it may show of itself, and what only the sender may know."""

    name: str
    kind: ChannelKind
    shown: str
    particulars: Mapping[str, Any]


@dataclass(frozen=True)
class Rotated:
    """A channel with its new secret, and until when the earlier one signs beside it."""

    channel: Channel
    secret: str
    until: datetime


def shown_address(url: str) -> str:
    """An address without what may be secret in it: user, path and query.

    >>> shown_address("https://me:secret@hooks.example.org:8443/T000/B000?token=x")
    'https://hooks.example.org:8443/…'
    """
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/…"


async def make_channel(session: AsyncSession, draft: Draft, vault: Vault) -> Channel:
    """Add a way to tell of incidents.

    Raises:
        ChannelExists: one of this name is there.
    """
    row: Channel | None = await session.scalar(
        insert(Channel)
        .values(**_columns(draft, vault, session.info["actor"].name, from_environment=False))
        .on_conflict_do_nothing()
        .returning(Channel)
    )
    if row is None:
        raise ChannelExists(draft.name)
    announce(session, ChannelMade(draft.name, draft.kind))
    return row


async def rotate_secret(session: AsyncSession, name: str, vault: Vault, *, grace: timedelta) -> Rotated:
    """Have a webhook sign with another secret; for a time of grace the earlier ones sign beside it, none for longer.

    Raises:
        ChannelNotFound: there is none of this name.
        SignsNothing: it is no webhook.
        ChannelUnreadable: what it knows was sealed under another key.
        TooManySecrets: as many earlier ones sign already as may.
    """
    channel = await lock_channel(session, name)
    if channel.kind is not ChannelKind.WEBHOOK:
        raise SignsNothing(name, channel.kind)
    now, secret = clock.now(), new_secret()
    at, until = int(now.timestamp()), int((now + grace).timestamp())
    particulars = with_secret(_opened(channel, vault), secret, at=at, until=until)
    if len(still_signing(particulars, at)) > MOST_EARLIER_SECRETS:
        raise TooManySecrets(name, MOST_EARLIER_SECRETS)
    channel.sealed = vault.seal(particulars)
    end = datetime.fromtimestamp(until, now.tzinfo)
    announce(session, ChannelSecretRotated(name, channel.kind, end.isoformat()))
    return Rotated(channel, secret, end)


def _opened(channel: Channel, vault: Vault) -> dict[str, Any]:
    try:
        return vault.unseal(channel.sealed)
    except (UnknownKeyError, TamperedError) as error:
        raise ChannelUnreadable(channel.name) from error


async def delete_channel(session: AsyncSession, name: str) -> None:
    """Take a way to tell of incidents away; what is still to be sent there is given up.

    Raises:
        ChannelNotFound: there is none of this name.
        ChannelConfigured: it comes from the environment.
        ChannelInUse: rules name it.
    """
    channel = await get_channel(session, name)
    if channel.from_environment:
        raise ChannelConfigured(name, variable_of(FROM_ENVIRONMENT[name]))
    rules = await list_rules_naming(session, name)
    if rules:
        raise ChannelInUse(name, list(rules))
    await session.delete(channel)
    announce(session, ChannelDeleted(name, channel.kind))


async def test_channel(session: AsyncSession, name: str) -> Delivery:
    """Send a message that tells of nothing, to see whether it arrives.

    Raises:
        ChannelNotFound: there is none of this name.
    """
    channel = await get_channel(session, name)
    data = {"channel": channel.name, "asked_by": session.info["actor"].name}
    return await queue_delivery(session, channel.name, Event.TEST, data)


async def adopt_channels(settings: Settings, database: Database, vault: Vault) -> None:
    """Have the channels that the environment brings, as it says now, and none that it no longer does."""
    drafts = configured_channels(settings)
    async with database.writes(BOOTSTRAP) as session:
        gone = delete(Channel).where(
            Channel.from_environment, Channel.name.not_in([draft.name for draft in drafts])
        )
        await session.execute(gone)
        for draft in drafts:
            row = _columns(draft, vault, BOOTSTRAP.name, from_environment=True)
            adopted = insert(Channel).values(**row)
            await session.execute(adopted.on_conflict_do_update(index_elements=["name"], set_=row))


def configured_channels(settings: Settings) -> list[Draft]:
    """The channels that the environment brings."""
    drafts = []
    if settings.slack_webhook_url is not None:
        url = settings.slack_webhook_url.get_secret_value()
        drafts.append(Draft("slack", ChannelKind.SLACK, shown_address(url), {"url": url}))
    if settings.email_notifications:
        to = list(settings.email_notifications)
        drafts.append(Draft("email", ChannelKind.EMAIL, ", ".join(to), {"to": to}))
    return drafts


def _columns(draft: Draft, vault: Vault, by: str, *, from_environment: bool) -> dict[str, Any]:
    return {
        "name": draft.name,
        "kind": draft.kind,
        "shown": draft.shown,
        "sealed": vault.seal(draft.particulars),
        "from_environment": from_environment,
        "made_at": clock.now(),
        "made_by": by,
    }
