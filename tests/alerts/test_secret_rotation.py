"""M12: a webhook's secret is changed while messages go on arriving: both sign for a time, then the earlier one no more."""

import asyncio
from datetime import timedelta

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from app.alerts.kinds import ChannelKind
from app.core import clock
from app.core.access import Role
from tests.alerts.conftest import kind
from tests.alerts.test_channels_api import text_of

CHANNELS = "/api/system/channels"
ROTATE = f"{CHANNELS}/hook/rotate-secret"


@pytest.fixture
async def first(room, receiver):
    """The secret of a new webhook."""
    made = await room.post(CHANNELS, json={"name": "hook", "kind": "webhook", "url": receiver.url})
    return made.json()["secret"]


async def rotate(client, **order):
    answer = await client.post(ROTATE, json=order)
    assert answer.status_code == 200, answer.text
    return answer.json()["secret"]


async def message(client, worker, receiver):
    await client.post(f"{CHANNELS}/hook/test")
    await worker.work_off()
    return receiver.received[-1]


def verifies(secret, sent):
    try:
        Webhook(secret).verify(sent.body, sent.headers)
    except WebhookVerificationError:
        return False
    return True


async def test_both_secrets_verify_for_a_day_and_then_the_new_one_alone(
    room, first, worker, receiver, monkeypatch
):
    now = clock.now
    monkeypatch.setattr(clock, "now", lambda: now() - timedelta(hours=23))
    second = await rotate(room)
    monkeypatch.setattr(clock, "now", now)
    sent = await message(room, worker, receiver)
    assert len(sent.headers["webhook-signature"].split(" ")) == 2
    assert [verifies(secret, sent) for secret in (first, second)] == [True, True]
    monkeypatch.setattr(clock, "now", lambda: now() - timedelta(hours=24, seconds=1))
    third = await rotate(room)
    monkeypatch.setattr(clock, "now", now)
    sent = await message(room, worker, receiver)
    assert [verifies(secret, sent) for secret in (first, second, third)] == [False, False, True]


async def test_no_grace_ends_every_earlier_secret_at_once(room, first, worker, receiver):
    second = await rotate(room)
    third = await rotate(room, grace_hours=0)
    sent = await message(room, worker, receiver)
    assert [verifies(secret, sent) for secret in (first, second, third)] == [False, False, True]


async def test_what_waits_to_be_sent_is_signed_with_what_holds_when_it_is_sent(room, first, worker, receiver):
    await room.post(f"{CHANNELS}/hook/test")
    second = await rotate(room, grace_hours=0.5)
    await worker.work_off()
    assert [verifies(secret, receiver.received[0]) for secret in (first, second)] == [True, True]


async def test_a_rotated_secret_is_shown_once_and_stored_nowhere_in_the_clear(room, first, database):
    headers = {"Idempotency-Key": "r-1"}
    made = await room.post(ROTATE, json={"grace_hours": 1}, headers=headers)
    assert made.headers["Cache-Control"] == "no-store"
    secret = made.json()["secret"]
    assert (secret.startswith("whsec_"), secret != first) == (True, True)
    again = await room.post(ROTATE, json={"grace_hours": 1}, headers=headers)
    assert again.json() == made.json() | {"secret": None}
    listed = await room.get(CHANNELS)
    async with database.reads() as session:
        stored = [await session.scalar(text_of(each)) for each in ("alert_channel", "fact", "receipt", "job")]
    assert not any(each in str([listed.text, stored]) for each in (secret, first))


async def test_a_rotation_is_a_fact_that_says_until_when_the_earlier_secret_signs(room, first, worker):
    made = await room.post(ROTATE)
    [fact] = await worker.rows("SELECT * FROM fact WHERE kind = 'ChannelSecretRotated'")
    assert fact["body"]["channel"] == "hook"
    assert fact["body"]["until"].startswith(made.json()["earlier_until"].removesuffix("Z"))


async def test_only_an_admin_rotates_and_only_a_webhook_has_something_to_rotate(room, add_channel, key_of):
    await add_channel("hook", ChannelKind.SLACK, url="https://hooks.slack.com/x")
    assert kind(await room.post(ROTATE)) == (409, "signs-nothing")
    assert kind(await room.post(f"{CHANNELS}/other/rotate-secret")) == (404, "channel-not-found")
    for key in (await key_of(Role.OPERATOR), await key_of(Role.ADMIN, ("m",))):
        assert (await room.post(ROTATE, headers=key)).status_code == 403


@pytest.mark.parametrize("hours", [-1, 721, "NaN", None])
async def test_a_grace_that_is_none_is_refused(room, first, hours):
    answer = await room.post(ROTATE, json={"grace_hours": hours})
    assert answer.status_code == 422
    assert "grace_hours" in answer.text


async def test_no_more_than_four_earlier_secrets_sign(room, first, worker, receiver):
    for _ in range(4):
        await rotate(room)
    refused = await room.post(ROTATE)
    assert kind(refused) == (409, "too-many-secrets")
    assert "grace_hours" in refused.json()["detail"]
    sent = await message(room, worker, receiver)
    assert len(sent.headers["webhook-signature"].split(" ")) == 5
    await rotate(room, grace_hours=0)


async def test_two_rotations_at_once_lose_none_of_their_secrets(room, first, worker, receiver):
    secrets = await asyncio.gather(rotate(room), rotate(room))
    sent = await message(room, worker, receiver)
    assert all(verifies(secret, sent) for secret in (first, *secrets))


async def test_a_channel_sealed_under_another_key_says_what_to_do(room, first, worker):
    await worker.execute("UPDATE alert_channel SET sealed = overlay(sealed placing '\\x00' from 20)")
    answer = await room.post(ROTATE)
    assert kind(answer) == (409, "channel-unreadable")
    assert "delete the channel" in answer.json()["detail"]
