"""R1–R5, R7, R8, R12, R13: the registry over HTTP, with real models and real files."""

import io
import json
import pickle
import tarfile

import pytest
from sklearn.linear_model import LogisticRegression
from sqlalchemy import func, select

from app.core.jobs import Job
from app.registry.actions import CONVERT
from app.registry.conversion import NOT_CONVERTED
from app.registry.queries import get_version
from tests.conftest import TESTER
from tests.real_models import bring_to_production, csv_of, data, register, skops_bytes


async def post(client, path, **body):
    return await client.post(f"/api/models/{path}", json=body)


async def test_a_version_is_registered_with_what_its_first_load_found(shared_client):
    answer = await register(shared_client, "first", tags={"team": "x"}, parameters={"C": 2})
    version = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == "/api/models/first:1"
    assert (version["model_id"], version["semantic_version"], version["status"]) == (
        "first:1",
        "1.0.0",
        "validating",
    )
    assert (version["framework"], version["algorithm"]) == ("scikit-learn", "LogisticRegression")
    assert len(version["signature"]["inputs"]) == 30
    assert version["signature"]["classes"] == [0, 1]
    whole = (await shared_client.get("/api/models/first:1")).json()
    assert [file["path"] for file in whole["files"]] == ["model.skops"]
    assert [move["goal"] for move in whole["history"]] == ["validation"]


async def test_versions_follow_from_what_changed(shared_client):
    same_recipe = (await register(shared_client, "semver", seed=1)).json()
    new_recipe = (await register(shared_client, "semver", "boosting")).json()
    again = (await register(shared_client, "semver", "boosting")).json()
    assert [v["semantic_version"] for v in (same_recipe, new_recipe, again)] == ["1.0.0", "1.1.0", "1.1.1"]
    chosen = (await register(shared_client, "semver", semantic_version="3.0.0")).json()
    assert chosen["semantic_version"] == "3.0.0"
    taken = await register(shared_client, "semver", semantic_version="3.0.0")
    assert (taken.status_code, taken.json()["type"]) == (409, "/problems/semantic-version-taken")


async def test_the_same_bytes_are_stored_once(shared_client):
    one = (await register(shared_client, "once", seed=3)).json()
    two = (await register(shared_client, "twice", seed=3)).json()
    assert one["artifact_digest"] == two["artifact_digest"]


async def test_names_that_break_references_are_refused_with_the_nearest_legal_one(shared_client):
    problem = (await register(shared_client, "lstm_BTC/USDT")).json()
    assert problem["status"] == 422
    assert problem["suggestion"] == "lstm_BTC-USDT"


async def test_twins_of_a_name_are_refused(shared_client):
    await register(shared_client, "Twin")
    problem = (await register(shared_client, "twin")).json()
    assert (problem["status"], problem["existing"]) == (409, "Twin")


async def test_a_pickle_under_any_name_is_refused_with_the_way_out(shared_client):
    model = pickle.dumps(LogisticRegression())
    for name in ("model.pkl", "model.skops", "model.onnx"):
        parts = {"artifact": (name, model)}
        answer = await shared_client.post(
            "/api/models", data={"metadata": '{"name": "pickled"}'}, files=parts
        )
        assert answer.status_code == 422
        assert "skops.io.dump" in answer.json()["detail"]
    assert (await shared_client.get("/api/models/pickled")).status_code == 404


async def test_an_archive_is_unpacked_and_one_with_a_way_out_is_refused(shared_client):
    def tar(name):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w:gz") as archive:
            member = tarfile.TarInfo(name)
            member.size = len(skops_bytes())
            archive.addfile(member, io.BytesIO(skops_bytes()))
        return file.getvalue()

    async def send(name):
        parts = {"artifact": ("model.tar.gz", tar(name)), "reference": ("r.csv", csv_of(data()[0]))}
        return await shared_client.post("/api/models", data={"metadata": '{"name": "packed"}'}, files=parts)

    assert (await send("../../escape.skops")).status_code == 422
    assert (await send("inner/model.skops")).status_code == 201


@pytest.mark.parametrize(
    ("metadata", "field"),
    [
        ("{", "metadata"),
        ('{"name": 1}', "name"),
        ('{"name": "m", "metrics": {"a": "x"}}', "metrics.a"),
        ('{"name": "m", "metrics": {"a": NaN}}', "metrics"),
        ('{"name": "m", "colour": 1}', "colour"),
        ('{"name": "m", "semantic_version": "1.0"}', "semantic_version"),
        ('{"name": "m", "description": "a\\u0000b"}', "description"),
        ('{"name": "m", "tags": {"k": "\\ud800"}}', "metadata"),
    ],
)
async def test_wrong_metadata_is_refused_field_by_field(shared_client, metadata, field):
    answer = await shared_client.post(
        "/api/models", data={"metadata": metadata}, files={"artifact": ("m.skops", skops_bytes())}
    )
    assert answer.status_code in {400, 422}, answer.text
    assert field in answer.text


async def test_a_part_that_is_missing_or_unknown_is_named(shared_client):
    missing = await shared_client.post(
        "/api/models", data={"metadata": "{}"}, files={"artefact": ("m", b"x")}
    )
    assert missing.status_code == 400
    assert "artefact" in missing.json()["detail"]


async def test_an_upload_with_another_digest_than_declared_is_refused(shared_client):
    answer = await register(shared_client, "digest", sha256={"model.skops": "0" * 64})
    assert answer.status_code == 422


async def test_the_same_idempotency_key_registers_once(shared_client):
    parts = {"artifact": ("model.skops", skops_bytes()), "reference": ("r.csv", csv_of(data()[0]))}
    options = {
        "data": {"metadata": '{"name": "idem"}'},
        "files": parts,
        "headers": {"Idempotency-Key": "reg-1"},
    }
    first, again = [await shared_client.post("/api/models", **options) for _ in range(2)]
    assert first.json() == again.json()
    assert again.headers["idempotency-replayed"] == "true"
    options["data"] = {"metadata": '{"name": "idem", "description": "other"}'}
    assert (await shared_client.post("/api/models", **options)).json()[
        "type"
    ] == "/problems/key-used-differently"


async def test_gates_close_before_a_bad_version_and_only_an_admin_with_a_reason_forces_them(shared_client):
    await register(shared_client, "gated", metrics={"accuracy": 0.7})
    bounds = {"gates": {"metrics": {"accuracy": {"min": 0.9}}}}
    assert (await shared_client.patch("/api/models/gated", json=bounds)).status_code == 200
    closed = await post(shared_client, "gated:1/validate")
    assert (closed.status_code, closed.json()["failed"][0]["check"]) == (409, "metric accuracy")
    assert (await post(shared_client, "gated:1/validate", force=True)).status_code == 403
    forced = await post(shared_client, "gated:1/validate", force=True, reason="known to be low at first")
    assert (forced.status_code, forced.json()["stage"]) == (200, "staging")
    assert [report["forced_by"] for report in forced.json()["gate_reports"]] == ["local", None]


async def test_a_candidate_is_held_against_production_on_the_same_rows(shared_client):
    await bring_to_production(shared_client, "rival", "boosting")
    await register(shared_client, "rival", "logistic", evaluation=True)
    report = (await post(shared_client, "rival:2/validate")).json()["gate_reports"][0]
    checks = {check["check"]: check for check in report["checks"]}
    assert checks["against rival:1"]["figures"]["rows"] == 169
    assert checks["leakage: target copied"]["passed"]


async def test_a_copied_target_is_noticed(shared_client):
    train, truth, rows, answers = data()
    leaky = LogisticRegression(max_iter=5000).fit(train[["mean radius"]].assign(leak=truth), truth)
    from skops.io import dump

    file = io.BytesIO()
    dump(leaky, file)
    held_out = rows[["mean radius"]].assign(leak=answers, benign=answers)
    parts = {
        "artifact": ("model.skops", file.getvalue()),
        "reference": ("r.csv", csv_of(train[["mean radius"]].assign(leak=truth))),
        "evaluation": ("e.csv", csv_of(held_out)),
    }
    metadata = json.dumps({"name": "leaky", "target": "benign"})
    assert (
        await shared_client.post("/api/models", data={"metadata": metadata}, files=parts)
    ).status_code == 201
    failed = (await post(shared_client, "leaky:1/validate")).json()["failed"]
    assert "leakage: target copied" in [check["check"] for check in failed]


async def test_aliases_move_and_keep_their_version_from_being_deleted(shared_client):
    await register(shared_client, "aliased")
    await register(shared_client, "aliased", seed=1)
    for version in (1, 2):
        answer = await shared_client.put("/api/models/aliased/aliases/best", json={"version": version})
        assert answer.json()["aliases"] == ["best"]
    assert (await shared_client.get("/api/models/aliased@best")).json()["version"] == 2
    assert (await shared_client.delete("/api/models/aliased:2")).json()["needed_by"] == ["alias best"]
    assert (await shared_client.delete("/api/models/aliased:1")).status_code == 204
    assert (await shared_client.delete("/api/models/aliased/aliases/best")).status_code == 204
    assert (await shared_client.delete("/api/models/aliased/aliases/best")).status_code == 404
    assert (
        await shared_client.put("/api/models/aliased/aliases/latest", json={"version": 2})
    ).status_code == 422


async def test_a_deleted_number_is_never_used_again(shared_client):
    await register(shared_client, "deleted")
    assert (await shared_client.delete("/api/models/deleted:1")).status_code == 204
    following = (await register(shared_client, "deleted")).json()
    assert (following["version"], following["semantic_version"]) == (2, "1.0.1")
    assert (await shared_client.get("/api/models/deleted:1")).status_code == 404


async def test_a_version_in_production_can_be_neither_deleted_nor_archived(shared_client):
    await bring_to_production(shared_client, "serving")
    assert (await shared_client.delete("/api/models/serving:1")).status_code == 409
    assert (await shared_client.delete("/api/models/serving")).status_code == 409
    assert (await post(shared_client, "serving:1/archive")).json()["type"] == "/problems/illegal-move"


async def test_a_version_that_was_not_validated_is_promoted_by_force_only(shared_client):
    await register(shared_client, "hasty")
    refused = await post(shared_client, "hasty:1/promote")
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/illegal-move")
    deployments = (await shared_client.get("/api/deployments", params={"model": "hasty"})).json()["items"]
    assert [each for each in deployments if each["model"] == "hasty"] == []
    assert (await post(shared_client, "hasty:1/promote", force=True, reason="now")).status_code == 200


async def test_a_bare_name_is_not_enough_for_a_verb(shared_client):
    await register(shared_client, "bare")
    problem = (await post(shared_client, "bare/archive")).json()
    assert (problem["status"], problem["candidates"]) == (400, ["bare:1"])


async def test_lists_are_filtered_and_paged(shared_client):
    for number in range(3):
        await register(
            shared_client,
            f"listed-{number}",
            metrics={"accuracy": 0.9 + number / 100},
            tags={"listed": "yes"},
        )
    query = {"tag": "listed=yes", "limit": 2}
    first = (await shared_client.get("/api/models", params=query)).json()
    rest = (await shared_client.get("/api/models", params=query | {"cursor": first["next"]})).json()
    assert [m["name"] for m in first["items"] + rest["items"]] == ["listed-0", "listed-1", "listed-2"]
    assert rest["next"] is None
    good = (
        await shared_client.get("/api/models", params={"tag": "listed", "metric": "accuracy>=0.915"})
    ).json()
    assert [m["name"] for m in good["items"]] == ["listed-2"]
    assert (await shared_client.get("/api/models", params={"metric": "accuracy"})).status_code == 422
    assert (await shared_client.get("/api/models", params={"cursor": first["next"] + "x"})).status_code == 400
    foreign = await shared_client.get("/api/deployments", params={"cursor": first["next"]})
    assert foreign.status_code == 400


async def test_an_artifact_is_downloaded_as_it_was_registered(shared_client):
    await register(shared_client, "download", seed=5)
    answer = await shared_client.get("/api/models/download:1/artifact", params={"path": "model.skops"})
    assert answer.content == skops_bytes(seed=5)
    assert (
        await shared_client.get("/api/models/download:1/artifact", params={"path": "../etc"})
    ).status_code == 404


async def test_archived_versions_are_restored_to_validation(shared_client):
    await register(shared_client, "restored")
    assert (await post(shared_client, "restored:1/archive", reason="no use")).json()["stage"] == "archived"
    assert (await post(shared_client, "restored:1/restore")).json()["stage"] == "validation"


async def test_a_model_is_served_as_onnx_when_asked_for_and_proved_equal(shared_client):
    version = (await register(shared_client, "onnx", serve_as="onnx")).json()
    assert version["served_as"] == "onnx"
    await post(shared_client, "onnx:1/validate")
    assert (await post(shared_client, "onnx:1/promote")).status_code == 200
    rows = {"instances": data()[2][:20].to_numpy().tolist()}
    await register(shared_client, "native", serve_as="native")
    await post(shared_client, "native:1/validate")
    await post(shared_client, "native:1/promote")
    answers = [
        (await shared_client.post(f"/api/models/{name}/predict", json=rows)).json()
        for name in ("onnx", "native")
    ]
    left, right = ([p["prediction"] for p in answer["predictions"]] for answer in answers)
    assert left == right


async def test_a_model_that_onnx_would_change_is_refused_as_onnx_with_the_reason(shared_client):
    problem = (await register(shared_client, "inexact", "boosting", serve_as="onnx")).json()
    assert (problem["status"], problem["type"]) == (422, "/problems/not-convertible")
    assert "float32" in problem["detail"]


async def test_known_bytes_are_looked_at_once_for_a_better_serving_form(client, service):
    async def register_bytes(seed):
        files = [("artifact", ("model.skops", skops_bytes(seed=seed)))]
        answer = await client.post("/api/models", data={"metadata": '{"name": "judged"}'}, files=files)
        assert answer.status_code == 201, answer.text

    await register_bytes(3)
    async with service.state.database.writes(TESTER) as session:
        version = await get_version(session, "judged:1")
        version.probe = version.probe | {NOT_CONVERTED: "ONNX is only 1.01 times as fast here"}
    await register_bytes(3)
    await register_bytes(4)
    async with service.state.database.reads() as session:
        asked = select(func.count()).select_from(Job).where(Job.kind == CONVERT)
        assert await session.scalar(asked) == 2  # for the first bytes, and for the other ones
