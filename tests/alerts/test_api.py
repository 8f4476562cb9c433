"""M12: rules, incidents, silences and channels over HTTP: who may do what, what is refused, and that no secret leaves."""

from datetime import timedelta

import httpx
import pytest
from fastapi import FastAPI

from app.alerts import api, channels_api
from app.alerts.channels import adopt_channels
from app.alerts.rules import DEFAULTS
from app.alerts.sealing import open_vault
from app.core import clock
from app.core.access import Role
from app.core.authenticate import Authenticator
from app.core.ids import new_id
from app.core.keys import make_key
from app.core.notify import Notifications
from app.core.problems import answer_errors_with_problems
from app.core.secrets import load_secrets
from tests.conftest import TESTER

RULES, INCIDENTS, SILENCES = "/api/system/alert-rules", "/api/system/incidents", "/api/system/silences"
CHANNELS, DELIVERIES = "/api/system/channels", "/api/system/deliveries"
A_RULE = {
    "name": "slow",
    "signal": "latency_ms",
    "threshold": 250.0,
    "window_seconds": 300,
    "severity": "warning",
}


@pytest.fixture
async def client(database, settings, exits):
    service = FastAPI()
    answer_errors_with_problems(service)
    for router in (api.router, channels_api.router):
        service.include_router(router, prefix="/api")
    state, notifications = service.state, Notifications(database.url)
    state.settings, state.database = settings, database
    state.secrets, state.vault = await load_secrets(database), open_vault(settings)
    state.authenticate = await exits.enter_async_context(Authenticator(settings, database, notifications))
    transport = httpx.ASGITransport(service, raise_app_exceptions=False)
    client = await exits.enter_async_context(
        httpx.AsyncClient(transport=transport, base_url="http://localhost")
    )
    client.state = state
    return client


@pytest.fixture
async def key_of(client, database):
    async def make(role, models=("*",)):
        async with database.writes(TESTER) as session:
            made = await make_key(session, name=f"key-{new_id().hex[:12]}", role=role, models=models)
        await client.state.authenticate.refresh()
        return {"Authorization": f"Bearer {made.text}"}

    return make


@pytest.fixture
async def incident(worker, signals):
    signals["latency_ms"] = {"m": 1500.0}
    await worker.look()
    [row] = await worker.rows("SELECT id FROM incident")
    return f"{INCIDENTS}/{row['id']}"


def kind(answer):
    return answer.status_code, answer.json()["type"].removeprefix("/problems/")


async def test_the_rules_from_the_start_are_listed_by_name_page_by_page(client):
    first = (await client.get(RULES, params={"limit": 5})).json()
    rest = (await client.get(RULES, params={"limit": 5, "cursor": first["next"]})).json()
    listed = [rule["name"] for rule in first["items"] + rest["items"]]
    assert listed == sorted(DEFAULTS)
    assert all(rule["has_default"] for rule in first["items"])


async def test_a_rule_is_made_read_changed_replaced_and_deleted(client):
    made = await client.post(RULES, json=A_RULE | {"model": "m"})
    assert made.status_code == 201, made.text
    assert (await client.get(f"{RULES}/slow")).json() == made.json()
    changed = (await client.patch(f"{RULES}/slow", json={"threshold": 400, "model": None})).json()
    assert (changed["threshold"], changed["model"], changed["signal"]) == (400.0, None, "latency_ms")
    terms = {name: value for name, value in A_RULE.items() if name != "name"}
    replaced = (await client.put(f"{RULES}/slow", json=terms | {"consecutive": 3})).json()
    assert (replaced["threshold"], replaced["consecutive"]) == (250.0, 3)
    assert (await client.delete(f"{RULES}/slow")).status_code == 204
    assert kind(await client.get(f"{RULES}/slow")) == (404, "alert-rule-not-found")


async def test_a_default_rule_is_reset_and_made_again_when_it_was_deleted(client):
    await client.patch(f"{RULES}/latency", json={"threshold": 5, "enabled": False})
    reset = (await client.post(f"{RULES}/latency/reset")).json()
    assert (reset["threshold"], reset["enabled"]) == (1000.0, True)
    await client.delete(f"{RULES}/latency")
    assert (await client.post(f"{RULES}/latency/reset")).status_code == 200
    assert kind(await client.post(f"{RULES}/other/reset")) == (409, "no-default-rule")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"threshold": "NaN"}, "threshold"),
        ({"consecutive": 0}, "consecutive"),
        ({"window_seconds": 1}, "window_seconds"),
        ({"cooldown_seconds": -1}, "cooldown_seconds"),
        ({"signal": "mood"}, "signal"),
        ({"severity": "fatal"}, "severity"),
        ({"name": "Has Spaces"}, "name"),
        ({"name": "x\u0000"}, "name"),
        ({"model": "m\u0000"}, "model"),
        ({"channels": ["nowhere"]}, "channels"),
        ({"misspelt": 1}, "misspelt"),
    ],
)
async def test_a_rule_that_makes_no_sense_is_refused_naming_the_field(client, change, field):
    answer = await client.post(RULES, json=A_RULE | change)
    assert answer.status_code == 422
    assert field in answer.text
    assert len((await client.get(RULES)).json()["items"]) == len(DEFAULTS)


async def test_a_second_rule_of_a_name_is_refused_and_a_repeated_order_is_answered_again(client):
    repeated = {"Idempotency-Key": "k-1"}
    first = await client.post(RULES, json=A_RULE, headers=repeated)
    again = await client.post(RULES, json=A_RULE, headers=repeated)
    assert (first.json(), again.headers["Idempotency-Replayed"]) == (again.json(), "true")
    assert kind(await client.post(RULES, json=A_RULE)) == (409, "alert-rule-exists")


async def test_an_incident_is_acknowledged_once_and_resolved_by_hand_once(client, incident):
    seen = (await client.post(f"{incident}/acknowledge", json={"note": "on it"})).json()
    assert (seen["state"], seen["acknowledge_note"]) == ("acknowledged", "on it")
    assert seen["acknowledged_by"]
    assert kind(await client.post(f"{incident}/acknowledge", json={})) == (409, "already-acknowledged")
    over = (await client.post(f"{incident}/resolve", json={"note": "restarted"})).json()
    assert (over["state"], over["resolve_note"]) == ("resolved", "restarted")
    assert kind(await client.post(f"{incident}/resolve", json={})) == (409, "incident-is-resolved")
    assert kind(await client.post(f"{incident}/acknowledge", json={})) == (409, "incident-is-resolved")


async def test_what_was_resolved_by_hand_does_not_open_again_before_the_rule_has_cooled_down(
    client, incident, worker
):
    await client.post(f"{incident}/resolve", json={})
    await worker.look()
    assert len(await worker.rows("SELECT * FROM incident")) == 1
    await worker.execute("UPDATE alert_standing SET resolved_at = resolved_at - interval '1 hour'")
    await worker.look()
    assert len(await worker.rows("SELECT * FROM incident")) == 2


async def test_an_incident_shows_what_was_told_of_it_and_how_that_went(
    client, worker, signals, add_channel, receiver
):
    await add_channel("hook", url=receiver.url)
    receiver.answers = [b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"]
    signals["latency_ms"] = {"m": 1500.0}
    await worker.look()
    [listed] = (await client.get(INCIDENTS, params={"open": True})).json()["items"]
    whole = (await client.get(f"{INCIDENTS}/{listed['id']}")).json()
    [told] = whole["deliveries"]
    assert (told["channel"], told["attempts"], told["last_error"]) == ("hook", 1, "answered 500")
    [queued] = (await client.get(DELIVERIES, params={"state": "queued"})).json()["items"]
    assert queued == told == (await client.get(f"{DELIVERIES}/{told['id']}")).json()


async def test_incidents_are_listed_by_what_they_are_narrowed_to(client, worker, signals):
    signals["latency_ms"] = {"a": 1500.0, "b": 1500.0}
    signals["accuracy_drop"] = {"a": 0.2}
    await worker.look()

    async def found(**filters):
        items = (await client.get(INCIDENTS, params=filters)).json()["items"]
        return sorted(item["fingerprint"] for item in items)

    assert await found(model="a") == ["accuracy-drop/model:a", "latency/model:a"]
    assert await found(rule="latency") == ["latency/model:a", "latency/model:b"]
    assert await found(severity="critical") == ["accuracy-drop/model:a"]
    assert await found(open=False) == []
    first = (await client.get(INCIDENTS, params={"limit": 2})).json()
    rest = (await client.get(INCIDENTS, params={"limit": 2, "cursor": first["next"]})).json()
    assert len({item["id"] for item in first["items"] + rest["items"]}) == 3


async def test_a_silence_names_something_and_a_time_to_come_and_is_ended(client):
    tomorrow = (clock.now() + timedelta(days=1)).isoformat()
    made = await client.post(SILENCES, json={"rule": "latency", "until": tomorrow, "reason": "r"})
    assert made.status_code == 201
    assert (await client.get(SILENCES)).json()["items"] == [made.json()]
    assert (await client.delete(f"{SILENCES}/{made.json()['id']}")).status_code == 204
    assert kind(await client.delete(f"{SILENCES}/{made.json()['id']}")) == (404, "silence-not-found")
    assert (await client.get(SILENCES)).json()["items"] == []
    assert len((await client.get(SILENCES, params={"in_force": False})).json()["items"]) == 1
    assert kind(await client.post(SILENCES, json={"until": tomorrow})) == (422, "field-problem")
    past = {"rule": "latency", "until": "2020-01-01T00:00:00Z"}
    assert kind(await client.post(SILENCES, json=past)) == (422, "field-problem")
    unknown = {"rule": "other", "until": tomorrow}
    assert kind(await client.post(SILENCES, json=unknown)) == (404, "alert-rule-not-found")


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
    from sqlalchemy import text

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
    from pydantic import SecretStr

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


async def test_each_role_may_do_what_is_its_own(client, key_of, incident):
    viewer, operator = await key_of(Role.VIEWER), await key_of(Role.OPERATOR)
    for path in (RULES, INCIDENTS, SILENCES, CHANNELS, DELIVERIES, incident):
        assert (await client.get(path, headers=viewer)).status_code == 200
    assert kind(await client.post(f"{incident}/acknowledge", json={}, headers=viewer)) == (
        403,
        "role-too-low",
    )
    assert (await client.post(f"{incident}/acknowledge", json={}, headers=operator)).status_code == 200
    assert kind(await client.post(RULES, json=A_RULE, headers=operator)) == (403, "role-too-low")
    assert kind(await client.post(f"{CHANNELS}/x/test", headers=operator)) == (403, "role-too-low")


async def test_a_key_for_some_models_sees_and_silences_these_only(client, key_of, incident, worker, signals):
    ours, others = await key_of(Role.OPERATOR, ("m",)), await key_of(Role.OPERATOR, ("x*",))
    assert len((await client.get(INCIDENTS, headers=ours)).json()["items"]) == 1
    assert (await client.get(INCIDENTS, headers=others)).json()["items"] == []
    for path in (incident, f"{incident}/resolve"):
        method = "POST" if path != incident else "GET"
        answer = await client.request(
            method, path, headers=others, **({"json": {}} if method == "POST" else {})
        )
        assert kind(answer) == (404, "incident-not-found")
    tomorrow = (clock.now() + timedelta(days=1)).isoformat()
    silence = {"model": "m", "until": tomorrow}
    assert kind(await client.post(SILENCES, json=silence, headers=others)) == (404, "model-not-found")
    assert kind(await client.post(SILENCES, json={"rule": "latency", "until": tomorrow}, headers=ours)) == (
        403,
        "key-too-narrow",
    )
    assert (await client.post(SILENCES, json=silence, headers=ours)).status_code == 201
    admin = await key_of(Role.ADMIN, ("m",))
    assert kind(await client.post(RULES, json=A_RULE, headers=admin)) == (403, "key-too-narrow")
