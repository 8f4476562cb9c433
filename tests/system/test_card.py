"""Model cards (R10): generated from what is known, including where it falls short, in three forms."""

import asyncio

import pytest

from app.core import clock
from app.registry.actions import edit_model
from app.registry.lifecycle import enthrone
from app.registry.rules import Stage
from app.registry.tables import GateReport
from tests import make
from tests.conftest import TESTER

HOSTILE = "<script>alert(1)</script> | [x](javascript:alert(1)) `"
SIGNATURE = make.SIGNATURE | {
    "inputs": [
        {"name": "age", "type": "float", "minimum": 18.0, "maximum": 91.5},
        {"name": "region", "type": "string", "categories": ["north", "south"]},
    ]
}


async def card_of(client, reference="churn:1"):
    answer = await client.get(f"/api/models/{reference}/card")
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.fixture
async def bare(service):
    """A version of which its maker said nothing."""
    async with service.state.database.writes(TESTER) as session:
        return await make.version(session, "churn", metrics={}, signature=SIGNATURE)


@pytest.fixture
async def known(service):
    """A version of which all is known, tried at both gates and in production."""
    rows = {"reference": "0" * 64, "evaluation": "1" * 64}
    async with service.state.database.writes(TESTER) as session:
        version = await make.version(
            session, "churn", Stage.STAGING, signature=SIGNATURE, description="Who will leave", dataset_version="march",
            code_revision="4f2c9e1", source_run="run-7", requirements=["scikit-learn==1.9.1"], latency_ms=0.4,
            memory_bytes=1_000_000, tags={"team": "retention"},
            probe={"rows": rows, "feature_importances": {"age": 0.9}, "warnings": []},
        )  # fmt: skip
        for goal, passed in ((Stage.STAGING, True), (Stage.PRODUCTION, False), (Stage.PRODUCTION, True)):
            check = {"check": "loads", "passed": passed, "finding": "it does" if passed else "it does not"}
            session.add(
                GateReport(version_id=version.id, goal=goal, passed=passed, checks=[check], at=clock.now())
            )
            await session.flush()
            await asyncio.sleep(0.002)  # identifiers sort by the millisecond
        await enthrone(session, version.id, reason="good")
    return version


async def test_a_card_tells_what_is_known(client, known):
    card = await card_of(client)
    assert (card["description"], card["stage"], card["environments"]) == (
        "Who will leave", "production", ["production"]
    )  # fmt: skip
    assert [(column["name"], column["maximum"], column["categories"]) for column in card["inputs"]] == [
        ("age", 91.5, None),
        ("region", None, ["north", "south"]),
    ]
    assert card["inputs"][0]["importance"] == 0.9
    assert card["tenures"][0]["ended_at"] is None


async def test_a_card_shows_the_newest_report_of_each_gate(client, known):
    checks = {(check["goal"], check["passed"]) for check in (await card_of(client))["checks"]}
    assert checks == {("staging", True), ("production", True)}


async def test_a_card_names_every_fact_that_is_missing(client, bare):
    shortcomings = "\n".join((await card_of(client))["shortcomings"])
    for missing in ("description", "metrics", "dataset_hash", "code_revision", "source_run", "packages", "speed",
                    "drift", "held-out", "no logged prediction", "gate"):  # fmt: skip
        assert missing in shortcomings


async def test_a_card_of_a_well_known_version_falls_short_only_of_its_record(client, known):
    assert (await card_of(client))["shortcomings"] == ["It has answered no logged prediction yet."]


async def test_a_card_tells_of_forced_and_failed_gates_and_of_unmeasured_fairness(client, service, bare):
    async with service.state.database.writes(TESTER) as session:
        check = {"check": "metrics", "passed": False, "finding": "accuracy is missing"}
        session.add(
            GateReport(
                version_id=bare.id,
                goal=Stage.STAGING,
                passed=False,
                forced_by="ada",
                checks=[check],
                at=clock.now(),
            )
        )
        await edit_model(session, "churn", {"sensitive_columns": ["age"]})
    shortcomings = (await card_of(client))["shortcomings"]
    assert "The gate before staging was forced by ada." in shortcomings
    assert "The gate before staging found: metrics: accuracy is missing" in shortcomings
    assert "Columns are marked sensitive, but no fairness gap was measured." in shortcomings


@pytest.mark.parametrize("form", ["json", "markdown", "html"])
async def test_a_card_shows_nothing_that_was_seen_in_a_sensitive_column(client, service, known, form):
    async with service.state.database.writes(TESTER) as session:
        await edit_model(session, "churn", {"sensitive_columns": ["age", "region"]})
    text = (await client.get("/api/models/churn:1/card", params={"format": form})).text
    assert "91.5" not in text
    assert "north" not in text
    assert "sensitive" in text


async def test_a_card_can_be_read_as_a_page(client, known):
    answer = await client.get("/api/models/churn:1/card", params={"format": "html"})
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "<h1>churn:1</h1>" in answer.text
    assert "18.0 to 91.5" in answer.text
    assert "<script" not in answer.text


async def test_a_card_can_be_read_as_markdown(client, known):
    answer = await client.get("/api/models/churn:1/card", params={"format": "markdown"})
    assert answer.headers["content-type"].startswith("text/markdown")
    assert answer.text.startswith("# churn:1\n")
    assert "| age | float | 18.0 to 91.5 | 0.9 |" in answer.text


@pytest.fixture
async def hostile(service):
    """A version whose maker tries to put code into its card."""
    inputs = [{"name": HOSTILE, "type": "string", "categories": [HOSTILE]}]
    async with service.state.database.writes(TESTER) as session:
        return await make.version(
            session, "churn", description=f"{HOSTILE}\n# Heading", tags={HOSTILE: HOSTILE}, metrics={HOSTILE: 1.0},
            parameters={HOSTILE: [HOSTILE]}, signature=make.SIGNATURE | {"inputs": inputs, "classes": [HOSTILE]},
            probe={"warnings": [HOSTILE]}, algorithm=HOSTILE, code_revision=HOSTILE,
        )  # fmt: skip


async def test_nothing_in_a_page_is_code(client, hostile):
    text = (await client.get("/api/models/churn:1/card", params={"format": "html"})).text
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)" in text


async def test_nothing_in_markdown_is_markup(client, hostile):
    text = (await client.get("/api/models/churn:1/card", params={"format": "markdown"})).text
    assert r"\<script\>alert(1)\</script\> \| \[x\](javascript:alert(1)) \`" in text
    assert HOSTILE not in text
    assert "\n# Heading" not in text


@pytest.mark.parametrize(("reference", "status"), [("churn", 404), ("churn:7", 404), ("churn:x", 400)])
async def test_what_is_not_there_has_no_card(client, bare, reference, status):
    assert (await client.get(f"/api/models/{reference}/card")).status_code == status


async def test_a_card_of_very_many_columns_shows_some_and_counts_the_rest(client, service):
    inputs = [{"name": f"x{number}", "type": "float"} for number in range(250)]
    async with service.state.database.writes(TESTER) as session:
        await make.version(session, "wide", signature=make.SIGNATURE | {"inputs": inputs})
    text = (await client.get("/api/models/wide:1/card", params={"format": "markdown"})).text
    assert "… and 50 more." in text
