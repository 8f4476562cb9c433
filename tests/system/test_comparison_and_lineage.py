"""Two versions side by side, and a version between its origin and its use (R6, R9)."""

from uuid import UUID

import pytest

from app.core import clock
from app.core.access import Role
from app.core.ids import new_id, time_of
from app.deployments.rules import Kind, Phase, Strategy
from app.deployments.tables import Deployment
from app.evidence.partitions import ensure_partitions
from app.evidence.tables import PredictionRow
from app.registry.actions import set_alias
from app.registry.lifecycle import enthrone
from app.registry.rules import Stage
from app.traffic.actions import append_revision
from app.traffic.rules import Arm, Shadow
from tests import make
from tests.conftest import TESTER

COMPARE = "/api/models/compare"


@pytest.fixture
async def two(service):
    """Two versions of one model, the second made from the first, and both in production one after the other."""
    async with service.state.database.writes(TESTER) as session:
        first = await make.version(
            session, "churn", Stage.STAGING, metrics={"accuracy": 0.90, "log_loss": 0.30}, latency_ms=0.5,
            dataset_version="march",
        )  # fmt: skip
        second = await make.version(
            session, "churn", Stage.STAGING, metrics={"accuracy": 0.95}, parameters={"C": 2.0, "tol": 0.1},
            latency_ms=0.7, dataset_version="april", source_run="run-7", code_revision="4f2c9e1",
            signature=make.SIGNATURE | {"inputs": [*make.SIGNATURE["inputs"], {"name": "x2", "type": "float"}]},
            probe={"feature_importances": {"x0": 0.8, "x2": 0.2}},
        )  # fmt: skip
        for version in (first, second):
            await enthrone(session, version.id, reason="better")
    return first, second


async def log_prediction(service, version):
    key = new_id()
    at = time_of(key)
    async with service.state.database.writes(TESTER) as session:
        await ensure_partitions(session, [at.date()])
        session.add(
            PredictionRow(
                at=at,
                id=key,
                request_id="r",
                model=version.model_name,
                version_id=version.id,
                version=version.number,
                environment="production",
                revision=1,
                arm="champion",
                propensity=1,
                shadow=False,
                log_probability=1,
                caller="local",
                entity_id=None,
                latency_ms=1,
                features=[0.1, 0.2],
                output=1,
                probabilities=None,
                confidence=None,
                error=None,
            )
        )


@pytest.mark.parametrize("suffix", ["", "_id"])
async def test_two_versions_are_compared_by_either_name_of_the_parameters(client, service, two, suffix):
    await log_prediction(service, two[1])
    answer = await client.get(COMPARE, params={f"model_a{suffix}": "churn:1", f"model_b{suffix}": "churn"})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert [found[side]["model_id"] for side in ("model_a", "model_b")] == ["churn:1", "churn:2"]
    assert {each["metric"]: each["better"] for each in found["metrics"]} == {
        "accuracy": "b",
        "log_loss": None,
    }
    assert found["parameters"] == {
        "added": {"tol": 0.1},
        "removed": {},
        "changed": {"C": {"a": 1.0, "b": 2.0}},
    }
    assert found["schema_changes"]["breaks"] == ["column x2 is new and required"]
    assert found["features"]["only_b"] == ["x2"]
    assert found["features"]["importances"]["x0"] == {"a": None, "b": 0.8}
    assert found["latency_ms_difference"] == pytest.approx(0.2)
    assert found["lineage"]["changed"]["dataset_version"] == {"a": "march", "b": "april"}
    assert found["lineage"]["added"]["parent"] == "churn:1"


async def test_a_comparison_tells_the_record_in_production(client, service, two):
    await log_prediction(service, two[1])
    found = (await client.get(COMPARE, params={"model_a": "churn:1", "model_b": "churn:2"})).json()
    old, new = found["model_a"], found["model_b"]
    assert (old["stage"], new["stage"]) == ("deprecated", "production")
    assert old["tenures"][0]["ended_at"] is not None
    assert new["tenures"][0]["ended_at"] is None
    assert new["seconds_in_production"] >= 0
    assert [side["predictions"]["count"] for side in (old, new)] == [0, 1]


async def test_beyond_many_predictions_the_count_is_a_lower_bound(client, service, two, monkeypatch):
    monkeypatch.setattr("app.system.records.COUNTED_PREDICTIONS", 2)
    for _ in range(3):
        await log_prediction(service, two[1])
    found = (await client.get("/api/models/churn:2/lineage")).json()
    assert found["use"]["predictions"] == {"count": 2, "is_lower_bound": True}


@pytest.mark.parametrize(
    ("parameters", "status"),
    [
        ({"model_a": "churn:1"}, 422),
        ({"model_a": "churn:1", "model_b": "churn:1", "model_b_id": "churn:2"}, 422),
        ({"model_a": "churn:1", "model_b": "churn:9"}, 404),
        ({"model_a": "churn:1", "model_b": "fraud"}, 404),
        ({"model_a": "churn:1", "model_b": "a/b"}, 400),
        ({"model_a": "churn:1", "model_b": "\0"}, 400),
    ],
)
async def test_a_comparison_needs_two_versions_that_exist(client, two, parameters, status):
    answer = await client.get(COMPARE, params=parameters)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_key_compares_only_what_it_may_see(client, service, two, key_of):
    async with service.state.database.writes(TESTER) as session:
        await make.version(session, "fraud")
    narrow = await key_of(Role.VIEWER, ("churn*",))
    for pair, status in [(("churn:1", "churn:2"), 200), (("churn:1", "fraud:1"), 404)]:
        parameters = dict(zip(("model_a", "model_b"), pair, strict=True))
        assert (await client.get(COMPARE, params=parameters, headers=narrow)).status_code == status


async def test_lineage_leads_back_to_where_a_version_came_from(client, two):
    origin = (await client.get("/api/models/churn:2/lineage")).json()["origin"]
    assert origin == {
        "source_run": "run-7",
        "code_revision": "4f2c9e1",
        "dataset_version": "april",
        "dataset_hash": None,
        "pipeline_execution": None,
        "creator": "tester",
        "ancestors": ["churn:1"],
    }


async def test_lineage_leads_on_to_what_became_of_a_version(client, service, two):
    first, second = two
    async with service.state.database.writes(TESTER) as session:
        await set_alias(session, first, "baseline")
        arms = [Arm("champion", second.id, 1.0)]
        await append_revision(
            session, first.model_id, "production", arms, [Shadow(first.id, 1.0)], kind="set", reason="", expected=None
        )  # fmt: skip
    await log_prediction(service, first)
    found = (await client.get("/api/models/churn:1/lineage")).json()["use"]
    assert found["children"] == ["churn:2"]
    assert found["aliases"] == ["baseline"]
    assert found["routes"] == [{"environment": "production", "revision": 1, "arms": [], "shadow": True}]
    assert found["predictions"] == {"count": 1, "is_lower_bound": False}
    assert [tenure["environment"] for tenure in found["tenures"]] == ["production"]


async def test_lineage_shows_no_ancestor_that_the_key_does_not_cover(client, service, key_of):
    async with service.state.database.writes(TESTER) as session:
        parent = await make.version(session, "secret")
        await make.version(session, "churn", parent_id=UUID(str(parent.id)))
    narrow = await key_of(Role.VIEWER, ("churn",))
    found = (await client.get("/api/models/churn:1/lineage", headers=narrow)).json()
    assert found["origin"]["ancestors"] == []


async def test_a_deployment_is_part_of_the_lineage(client, service):
    async with service.state.database.writes(TESTER) as session:
        version = await make.version(session, "churn")
        session.add(
            Deployment(
                model_id=version.model_id,
                model_name="churn",
                environment="production",
                version_id=version.id,
                version_number=1,
                strategy=Strategy.DIRECT,
                kind=Kind.PROMOTE,
                phase=Phase.FAILED,
                reason="",
                actor="a",
                role="operator",
                steps=[],
                made_at=clock.now(),
                deadline_at=clock.now(),
            )
        )
    (found,) = (await client.get("/api/models/churn:1/lineage")).json()["use"]["deployments"]
    assert (found["kind"], found["phase"]) == ("promote", "failed")
