"""M12: from a rule to a message that arrives: signed, tried again, given up with its failure shown."""

import json

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from app.alerts.kinds import ChannelKind
from app.alerts.rules import MOST_ATTEMPTS
from tests.alerts.conftest import answer

SLOW = {"latency_ms": {"m": 1500.0}}


async def deliveries(worker):
    return await worker.rows("SELECT * FROM alert_delivery ORDER BY id")


async def test_an_unwell_signal_is_told_to_a_webhook_by_a_signature_that_verifies(
    worker, signals, add_channel, receiver
):
    secret = await add_channel("hook", url=f"{receiver.url}/alerts?token=t")
    signals |= SLOW
    await worker.look()
    [sent] = receiver.received
    assert sent.path == "/alerts?token=t"
    told = Webhook(secret).verify(sent.body, sent.headers)
    assert told["type"] == "incident.opened"
    assert (told["data"]["rule"], told["data"]["model"], told["data"]["value"]) == ("latency", "m", 1500.0)
    [delivery] = await deliveries(worker)
    assert sent.headers["webhook-id"] == str(delivery["id"])
    assert (delivery["state"], delivery["attempts"], delivery["last_error"]) == ("delivered", 1, None)


async def test_another_secret_does_not_verify(worker, signals, add_channel, receiver):
    await add_channel("hook", url=receiver.url)
    other = await add_channel("other", url=receiver.url)
    signals |= SLOW
    await worker.look()
    of_hook, of_other = receiver.received
    Webhook(other).verify(of_other.body, of_other.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(other).verify(of_hook.body, of_hook.headers)


async def test_a_message_that_is_answered_500_is_sent_again_under_the_same_id(
    worker, signals, add_channel, receiver
):
    await add_channel("hook", url=receiver.url)
    receiver.answers = [answer(500), answer(503, "Retry-After: 120")]
    signals |= SLOW
    await worker.look()
    [delivery] = await deliveries(worker)
    assert (delivery["state"], delivery["attempts"], delivery["last_error"]) == ("queued", 1, "answered 500")
    assert delivery["next_at"] > delivery["tried_at"]
    await worker.hurry()
    [delivery] = await deliveries(worker)
    assert (delivery["next_at"] - delivery["tried_at"]).total_seconds() > 100
    await worker.hurry()
    [delivery] = await deliveries(worker)
    assert (delivery["state"], delivery["attempts"]) == ("delivered", 3)
    assert len({(sent.headers["webhook-id"], sent.body) for sent in receiver.received}) == 1
    assert len(receiver.received) == 3


async def test_a_message_that_never_arrives_is_given_up_with_its_failure_shown(
    worker, signals, add_channel, receiver
):
    await add_channel("hook", url=receiver.url)
    receiver.answers = [answer(500)] * 50
    signals |= SLOW
    await worker.look()
    for _ in range(MOST_ATTEMPTS):
        await worker.hurry()
    [delivery] = await deliveries(worker)
    assert (delivery["state"], delivery["attempts"]) == ("given_up", MOST_ATTEMPTS)
    assert delivery["last_error"] == "answered 500"
    assert len(receiver.received) == MOST_ATTEMPTS
    [fact] = await worker.rows("SELECT * FROM fact WHERE kind = 'DeliveryGivenUp'")
    assert fact["body"]["problem"] == "answered 500"


async def test_a_receiver_that_is_gone_for_good_is_not_asked_again(worker, signals, add_channel, receiver):
    await add_channel("hook", url=receiver.url)
    receiver.answers = [answer(410)]
    signals |= SLOW
    await worker.look()
    [delivery] = await deliveries(worker)
    assert (delivery["state"], delivery["last_error"]) == ("given_up", "answered 410")


async def test_a_redirect_is_not_followed(worker, signals, add_channel, receiver):
    await add_channel("hook", url=f"{receiver.url}/first")
    receiver.answers = [answer(302, f"Location: {receiver.url}/second")]
    signals |= SLOW
    await worker.look()
    assert [sent.path for sent in receiver.received] == ["/first"]
    [delivery] = await deliveries(worker)
    assert delivery["last_error"] == "answered 302, and redirects are not followed"


async def test_a_channel_that_was_deleted_meanwhile_ends_its_deliveries(
    worker, signals, add_channel, receiver
):
    await add_channel("hook", url=receiver.url)
    receiver.answers = [answer(500)]
    signals |= SLOW
    await worker.look()
    await worker.execute("DELETE FROM alert_channel")
    await worker.hurry()
    [delivery] = await deliveries(worker)
    assert (delivery["state"], delivery["last_error"]) == ("given_up", "the channel was deleted")


async def test_a_defect_counts_as_a_failure_and_is_shown_without_its_words(worker, signals, add_channel):
    await add_channel("mail", ChannelKind.EMAIL, to=["a\r\nBcc: hidden@example.org"])
    signals |= SLOW
    await worker.look()
    [delivery] = await deliveries(worker)
    assert (delivery["state"], delivery["last_error"]) == ("queued", "a defect of this service: ValueError")


async def test_a_secret_that_was_sealed_under_another_key_is_said_so(
    worker, signals, add_channel, receiver, settings
):
    await add_channel("hook", url=receiver.url)
    sealed = (await worker.rows("SELECT sealed FROM alert_channel"))[0]["sealed"]
    assert receiver.url.encode() not in sealed
    await worker.execute("UPDATE alert_channel SET sealed = overlay(sealed placing '\\x00' from 20)")
    signals |= SLOW
    await worker.look()
    [delivery] = await deliveries(worker)
    assert "can't be opened" in delivery["last_error"]
    assert receiver.received == []


async def test_slack_is_told_in_its_words_without_markup_of_others(worker, signals, add_channel, receiver):
    await add_channel("slack", ChannelKind.SLACK, url=f"{receiver.url}/services/T/B/X")
    signals |= {"latency_ms": {"<!channel>": 1500.0}}
    await worker.look()
    [sent] = receiver.received
    said = json.loads(sent.body)["text"]
    assert "WARNING latency: model:&lt;!channel&gt;" in said
    assert "latency_ms is 1500 (the rule minds more than 1000)" in said


async def test_pagerduty_is_told_of_the_same_alert_when_it_opens_and_when_it_ends(
    worker, signals, add_channel, receiver
):
    await add_channel("pd", ChannelKind.PAGERDUTY, routing_key="R0", url=f"{receiver.url}/v2/enqueue")
    receiver.answers = [answer(202), answer(202)]
    signals |= SLOW
    await worker.look()
    signals["latency_ms"] = {"m": 3.0}
    await worker.look()
    opened, ended = (json.loads(sent.body) for sent in receiver.received)
    assert (opened["event_action"], ended["event_action"]) == ("trigger", "resolve")
    assert opened["dedup_key"] == ended["dedup_key"] == "latency/model:m"
    assert opened["routing_key"] == "R0"
    assert opened["payload"]["severity"] == "warning"


async def test_mail_arrives_with_an_id_that_tells_repetitions_apart(worker, signals, add_channel, mailbox):
    await add_channel("mail", ChannelKind.EMAIL, to=["a@example.org", "b@example.org"])
    signals |= SLOW
    await worker.look()
    [(to, content)] = mailbox.mails
    [delivery] = await deliveries(worker)
    assert to == ["a@example.org", "b@example.org"]
    assert f"Message-ID: <{delivery['id']}@switchyard.example>" in content
    assert "Subject: WARNING latency: model:m" in content


async def test_a_mail_server_that_refuses_is_asked_again(worker, signals, add_channel, mailbox):
    await add_channel("mail", ChannelKind.EMAIL, to=["a@example.org"])
    mailbox.refuses = "451 later"
    signals |= SLOW
    await worker.look()
    [delivery] = await deliveries(worker)
    assert (delivery["state"], delivery["attempts"]) == ("queued", 1)
    assert "mail server" in delivery["last_error"]
    mailbox.refuses = None
    await worker.hurry()
    assert len(mailbox.mails) == 1


async def test_what_apprise_speaks_arrives(worker, signals, add_channel, receiver):
    address = f"json://127.0.0.1:{receiver.port}/notify"
    await add_channel("any", ChannelKind.APPRISE, url=address)
    signals |= SLOW
    await worker.look()
    [sent] = receiver.received
    assert json.loads(sent.body)["title"] == "WARNING latency: model:m"
    assert b"http" not in sent.body


async def test_a_channel_of_this_machine_from_before_delivers_nothing(worker, signals, add_channel):
    await add_channel("any", ChannelKind.APPRISE, url="syslog://")
    signals |= SLOW
    await worker.look()
    [delivery] = await deliveries(worker)
    assert delivery["state"] == "given_up"
    assert "on the machine that sends" in delivery["last_error"]


async def test_what_apprise_can_not_deliver_is_tried_again(worker, signals, add_channel, receiver):
    await add_channel("any", ChannelKind.APPRISE, url=f"json://127.0.0.1:{receiver.port}/hidden-token")
    receiver.answers = [answer(500), answer(302, f"Location: {receiver.url}/second")]
    signals |= SLOW
    await worker.look()
    [delivery] = await deliveries(worker)
    assert (delivery["state"], delivery["last_error"]) == ("queued", "answered 500")
    await worker.hurry()
    [delivery] = await deliveries(worker)
    assert delivery["last_error"] == "answered 302"
    assert [sent.path for sent in receiver.received] == ["/hidden-token", "/hidden-token"]


@pytest.mark.parametrize("kind", [ChannelKind.WEBHOOK, ChannelKind.APPRISE])
async def test_a_private_address_is_refused_and_not_tried_again(
    kind, database, settings, signals, add_channel, receiver
):
    from app.alerts.egress import NotDeliveredError
    from app.alerts.senders import Letter, Post

    scheme = "http" if kind is ChannelKind.WEBHOOK else "json"
    closed = settings.model_copy(update={"allowed_targets": ()})
    letter = Letter(
        "id",
        kind,
        {"url": f"{scheme}://127.0.0.1:{receiver.port}/", "secret": "whsec_" + "A" * 32},
        {
            "type": "incident.test",
            "timestamp": "2025-03-01T12:00:00Z",
            "data": {"channel": "c", "asked_by": "ada"},
        },
    )
    with pytest.raises(NotDeliveredError, match="not a public address") as caught:
        await Post.configured(closed).send(letter)
    assert caught.value.failure.is_final
    assert receiver.received == []
