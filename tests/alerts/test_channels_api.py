"""M12: channels over HTTP: what is refused, what is shown, and that no secret leaves."""

import pytest
from apprise.manager_plugins import NotificationManager
from pydantic import SecretStr
from sqlalchemy import text

from app.alerts.apprise_child import why_no_channel
from app.alerts.channels import adopt_channels
from tests.alerts.conftest import kind

CHANNELS, RULES = "/api/system/channels", "/api/system/alert-rules"


@pytest.fixture
def client(room):
    return room


async def test_a_webhooks_secret_is_shown_once_and_its_address_never(client, receiver, database):
    order = {"name": "hook", "kind": "webhook", "url": f"http://u:p@127.0.0.1:{receiver.port}/x?token=hidden"}
    headers = {"Idempotency-Key": "c-1"}
    made = await client.post(CHANNELS, json=order, headers=headers)
    assert made.status_code == 201, made.text
    assert made.json()["secret"].startswith("whsec_")
    again = await client.post(CHANNELS, json=order, headers=headers)
    assert again.json()["secret"] is None
    listed = await client.get(CHANNELS)
    for shown in (listed.text, again.text, made.text):
        assert "hidden" not in shown
        assert "u:p" not in shown
    assert "secret" not in listed.json()["items"][0]
    async with database.reads() as session:
        for table in ("alert_channel", "fact", "receipt", "job"):
            stored = await session.scalar(text_of(table))
            assert "hidden" not in (stored or "")
            assert made.json()["secret"] not in (stored or "")


def text_of(table):
    return text(f"SELECT string_agg(t::text, ' ') FROM {table} t")


@pytest.mark.parametrize(
    ("order", "problem"),
    [
        ({"kind": "webhook"}, "field-problem"),
        ({"kind": "webhook", "url": "ftp://example.org"}, "field-problem"),
        ({"kind": "webhook", "url": "http://10.0.0.1/"}, "target-refused"),
        ({"kind": "webhook", "url": "http://169.254.169.254/latest"}, "target-refused"),
        ({"kind": "slack", "url": "https://hooks.slack.com/x", "to": ["a@b.c"]}, "field-problem"),
        ({"kind": "pagerduty"}, "field-problem"),
        ({"kind": "email", "to": ["no address"]}, "field-problem"),
        ({"kind": "email", "to": ["a@b.c\r\nBcc: d@e.f"]}, "field-problem"),
        ({"kind": "apprise", "url": "nonsense://"}, "field-problem"),
        ({"kind": "webhook", "url": "https://hooks.example.org", "name": "slack"}, "field-problem"),
        ({"kind": "pigeon"}, "invalid-request"),
    ],
)
async def test_a_channel_that_can_not_work_is_refused(client, order, problem):
    assert kind(await client.post(CHANNELS, json={"name": "c"} | order)) == (422, problem)
    assert (await client.get(CHANNELS)).json()["items"] == []


@pytest.mark.parametrize("url", ["syslog://", "syslog://local7?logperror=yes"])
async def test_a_service_of_apprise_on_this_machine_is_no_channel(client, url):
    refused = await client.post(CHANNELS, json={"name": "c", "kind": "apprise", "url": url})
    assert kind(refused) == (422, "field-problem")
    assert "on the machine that sends" in refused.text
    assert "rsyslog://host" in refused.text


@pytest.mark.filterwarnings(
    "ignore:'imghdr':DeprecationWarning"
)  # apprise's own, of services that are not used
def test_the_services_of_apprise_on_this_machine_are_told_by_their_addresses():
    """Whatever apprise adds is seen here: the rest speak to a host, or are a service on the web."""
    local = {plugin.__name__ for plugin in NotificationManager().plugins() if why_no_channel(plugin)}
    assert local == {
        f"Notify{name}" for name in ("Blink1", "DBus", "GLib", "Gnome", "MacOSX", "Syslog", "Windows")
    }


async def test_a_channel_is_tested_by_a_message_that_is_seen_to_arrive(client, worker, receiver):
    await client.post(CHANNELS, json={"name": "hook", "kind": "webhook", "url": receiver.url})
    asked = await client.post(f"{CHANNELS}/hook/test")
    assert asked.status_code == 202
    await worker.work_off()
    went = (await client.get(asked.headers["Location"])).json()
    assert (went["state"], went["event"], went["incident_id"]) == ("delivered", "test", None)
    assert len(receiver.received) == 1
    assert kind(await client.post(f"{CHANNELS}/other/test")) == (404, "channel-not-found")


async def test_channels_of_every_kind_are_made_and_show_no_secret(client):
    for order in (
        {"kind": "pagerduty", "routing_key": "R0UT1NG"},
        {"kind": "email", "to": ["a@example.org"]},
        {"kind": "apprise", "url": "json://hooks.example.org/t0ken"},
    ):
        made = await client.post(CHANNELS, json={"name": f"a-{order['kind']}"} | order)
        assert made.status_code == 201, made.text
        assert made.json()["secret"] is None
    shown = [each["shown"] for each in (await client.get(CHANNELS)).json()["items"]]
    assert shown == ["json://…", "a@example.org", "PagerDuty"]


async def test_a_channel_that_rules_name_stays(client, receiver):
    await client.post(CHANNELS, json={"name": "hook", "kind": "webhook", "url": receiver.url})
    assert kind(
        await client.post(CHANNELS, json={"name": "hook", "kind": "webhook", "url": receiver.url})
    ) == (409, "channel-exists")
    await client.patch(f"{RULES}/latency", json={"channels": ["hook"]})
    assert kind(await client.delete(f"{CHANNELS}/hook")) == (409, "channel-in-use")
    await client.patch(f"{RULES}/latency", json={"channels": None})
    assert (await client.delete(f"{CHANNELS}/hook")).status_code == 204


async def test_the_environment_brings_channels_and_takes_them_away(client, database, settings):
    vault = client.state.vault
    said = {
        "slack_webhook_url": SecretStr("https://hooks.slack.com/services/T/B/X"),
        "email_notifications": ("a@b.c",),
    }
    await adopt_channels(settings.model_copy(update=said), database, vault)
    await adopt_channels(settings.model_copy(update=said), database, vault)
    listed = (await client.get(CHANNELS)).json()["items"]
    assert [(each["name"], each["shown"]) for each in listed] == [
        ("email", "a@b.c"),
        ("slack", "https://hooks.slack.com/…"),
    ]
    assert kind(await client.delete(f"{CHANNELS}/slack")) == (409, "channel-configured")
    await adopt_channels(settings, database, vault)
    assert (await client.get(CHANNELS)).json()["items"] == []


@pytest.mark.parametrize("port", [65536, 99999])
async def test_an_address_with_a_port_that_is_none_is_refused(client, port):
    order = {"name": "c", "kind": "webhook", "url": f"https://hooks.example.org:{port}/"}
    refused = await client.post(CHANNELS, json=order)
    assert kind(refused) == (422, "field-problem")
    assert "ports lie between 1 and 65535" in refused.json()["detail"]
