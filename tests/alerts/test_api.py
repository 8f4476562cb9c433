"""M12: rules, incidents, silences and channels over HTTP: who may do what, what is refused, and that no secret leaves."""

from datetime import timedelta

import pytest
from sqlalchemy import text

from app.alerts.rules import DEFAULTS
from app.core import clock
from app.core.access import Role
from tests import make
from tests.alerts.conftest import kind
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
def client(room):
    return room


@pytest.fixture
async def incident(worker, signals):
    signals["latency_ms"] = {"m": 1500.0}
    await worker.look()
    [row] = await worker.rows("SELECT id FROM incident")
    return f"{INCIDENTS}/{row['id']}"


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
        ({"model": "iso:1"}, "write 'iso'"),
        ({"model": "iso@champion"}, "write 'iso'"),
        ({"signal": "drift", "threshold": 2}, "drift lies between 0 and 1"),
        ({"signal": "drift", "threshold": 1}, "never above that"),
        ({"signal": "error_rate", "threshold": 5}, "error_rate lies between 0 and 1"),
        ({"threshold": -1}, "latency_ms is never below 0"),
        ({"threshold": 0, "comparison": "below"}, "never below that"),
        *(
            ({"signal": each, "threshold": 0.5, "comparison": "below"}, "comparison: is below, but")
            for each in ("pipeline_failures", "training_failure", "deployment_failure")
        ),
        ({"channels": ["nowhere"]}, "channels"),
        ({"misspelt": 1}, "misspelt"),
    ],
)
async def test_a_rule_that_makes_no_sense_is_refused_naming_the_field(client, change, field):
    answer = await client.post(RULES, json=A_RULE | change)
    assert answer.status_code == 422
    assert field in answer.text
    assert len((await client.get(RULES)).json()["items"]) == len(DEFAULTS)


async def test_a_rule_that_comes_to_nothing_for_now_says_so(client, database):
    made = await client.post(RULES, json=A_RULE | {"model": "nope", "channels": []})
    assert made.status_code == 201, made.text
    unknown, untold = made.json()["warnings"]
    assert "no model 'nope' yet" in unknown
    assert "nobody is told" in untold
    [listed] = [rule for rule in (await client.get(RULES)).json()["items"] if rule["name"] == "slow"]
    assert listed["warnings"] == [unknown, untold]
    async with database.writes(TESTER) as session:
        await make.version(session, name="nope")
    changed = await client.patch(f"{RULES}/slow", json={"channels": None})
    assert changed.json()["warnings"] == []


async def test_the_threshold_of_a_rule_stays_within_its_signal_when_either_is_changed(client, database):
    for change in ({"threshold": 2}, {"comparison": "below", "threshold": 0}):
        assert kind(await client.patch(f"{RULES}/drift", json=change)) == (422, "field-problem")
    assert kind(await client.patch(f"{RULES}/latency", json={"signal": "drift"})) == (422, "field-problem")
    async with database.writes(TESTER) as session:  # as it could be made before
        await session.execute(text("UPDATE alert_rule SET threshold = 2 WHERE name = 'drift'"))
    assert (await client.patch(f"{RULES}/drift", json={"enabled": False})).status_code == 200


async def test_a_silence_of_an_unknown_model_says_so_and_one_of_a_version_is_refused(client):
    tomorrow = (clock.now() + timedelta(days=1)).isoformat()
    made = await client.post(SILENCES, json={"model": "nope", "until": tomorrow})
    assert "no model 'nope' yet" in made.json()["warnings"][0]
    refused = await client.post(SILENCES, json={"model": "iso:1", "until": tomorrow})
    assert kind(refused) == (422, "invalid-request")
    assert "write 'iso'" in refused.text


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


@pytest.mark.parametrize(
    "until", ["9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+14:00", "2099-01-01T00:00:00"]
)
async def test_a_silence_until_a_time_that_no_clock_shows_is_refused(client, until):
    refused = await client.post(SILENCES, json={"rule": "latency", "until": until})
    assert kind(refused) == (422, "invalid-request")
    assert refused.json()["errors"][0]["field"] == "until"


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


async def test_an_open_incident_stays_as_it_was_told_and_is_judged_by_the_rule_as_it_is_now(
    client, incident, worker
):
    await client.patch(f"{RULES}/latency", json={"severity": "critical", "consecutive": 1})
    await worker.look()
    shown = (await client.get(incident)).json()
    assert (shown["state"], shown["severity"], shown["looks"]) == ("open", "warning", 2)
    await client.patch(f"{RULES}/latency", json={"threshold": 2000.0})
    await worker.look()
    shown = (await client.get(incident)).json()
    assert (shown["state"], shown["severity"], shown["threshold"]) == ("resolved", "warning", 1000.0)
