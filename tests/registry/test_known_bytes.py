"""Registering bytes that some version has already, and the names and numbers that versions get."""

import asyncio
import hashlib
import json

import pytest

from tests.real_models import csv_of, data, skops_bytes


async def send(client, name, body, *, path="model.skops", reference=None, **metadata):
    said = {"metadata": json.dumps({"name": name, **metadata})}
    files = [("artifact", (path, body))]
    if reference is not None:
        files.append(("reference", ("reference.csv", csv_of(reference))))
    return await client.post("/api/models", data=said, files=files)


@pytest.fixture
async def known(shared_client):
    """Bytes that some version has."""
    body = skops_bytes(seed=5)
    assert (await send(shared_client, "known", body)).status_code == 201
    return body


async def test_known_bytes_are_never_staged(client, service):
    body = skops_bytes(seed=5)
    assert (await send(client, "staged", body)).status_code == 201
    root = service.state.settings.base_path / "staging"
    root.rmdir()
    root.write_text("in the way")
    answer = await send(client, "staged", body)
    assert (answer.status_code, answer.json()["version"]) == (201, 2)


async def test_known_bytes_are_known_by_any_name_of_a_model_and_no_other_name_of_a_file(shared_client, known):
    first = (await shared_client.get("/api/models/known:1")).json()
    other_model = (await send(shared_client, "known-other", known)).json()
    other_file = (await send(shared_client, "known-other", known, path="renamed.skops")).json()
    assert other_model["artifact_digest"] == first["artifact_digest"] != other_file["artifact_digest"]


async def test_known_bytes_that_are_not_those_expected_are_refused(shared_client, known):
    wrong, right = hashlib.sha256(b"known-other").hexdigest(), hashlib.sha256(known).hexdigest()
    refused = await send(shared_client, "known-expected", known, sha256={"model.skops": wrong})
    assert (refused.status_code, refused.json()["type"]) == (422, "/problems/upload-digest-mismatch")
    accepted = await send(shared_client, "known-expected", known, sha256={"model.skops": right.upper()})
    assert accepted.status_code == 201


async def test_names_of_known_bytes_must_be_distinct(shared_client, known):
    files = [("artifact", (name, known)) for name in ("model.skops", "MODEL.skops")]
    answer = await shared_client.post("/api/models", data={"metadata": '{"name": "known"}'}, files=files)
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/file-name-taken")


async def test_a_twin_of_a_models_name_takes_no_number(shared_client, known):
    await send(shared_client, "known-twin", known)
    refused = await send(shared_client, "KNOWN-TWIN", known)
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/name-too-close")
    assert "'known-twin'" in refused.json()["detail"]
    assert (await send(shared_client, "known-twin", known)).json()["version"] == 2


async def test_registrations_at_once_of_a_new_name_are_numbered_in_turn_and_make_it_once(
    shared_client, known
):
    answers = await asyncio.gather(*(send(shared_client, "known-rush", known) for _ in range(6)))
    made = sorted((answer.json()["version"], answer.json()["semantic_version"]) for answer in answers)
    assert made == [(number, f"1.0.{number - 1}") for number in range(1, 7)]
    asked = {"kind": "ModelCreated", "subject": "model:known-rush"}
    assert len((await shared_client.get("/api/system/audit", params=asked)).json()["items"]) == 1


async def test_a_model_that_was_deleted_is_made_again_with_numbers_never_used(shared_client, known):
    await send(shared_client, "known-again", known)
    assert (await shared_client.delete("/api/models/known-again")).status_code == 204
    again = (await send(shared_client, "known-again", known)).json()
    assert (again["version"], again["semantic_version"]) == (2, "1.0.1")
    assert (await shared_client.get("/api/models/known-again")).status_code == 200


async def told_of(client, version):
    return (await client.get(f"/api/models/{version}")).json()


async def test_what_a_sample_shows_belongs_to_the_version_that_brought_it(shared_client):
    body, sample = skops_bytes(seed=21), data()[0]
    assert (await send(shared_client, "sample-a", body, reference=sample)).status_code == 201
    assert (await send(shared_client, "sample-b", body)).status_code == 201
    shifted = await send(shared_client, "sample-c", body, reference=sample + 1000)
    assert shifted.status_code == 201
    first, without, third = [
        (await told_of(shared_client, f"sample-{team}:1"))["signature"]["inputs"][0] for team in "abc"
    ]
    assert first["minimum"] == pytest.approx(third["minimum"] - 1000)
    assert without.get("minimum") is None
    assert without.get("maximum") is None
    described = await shared_client.get("/api/models/sample-b/openapi")
    assert str(first["minimum"]) not in described.text


async def test_what_somebody_says_of_a_model_is_not_said_of_its_bytes_elsewhere(shared_client):
    body = skops_bytes(seed=22)
    said = {"framework": "theirs", "algorithm": "secret", "parameters": {"budget": 7}}
    said["requirements"] = ["private==1"]
    assert (await send(shared_client, "said-plain", body, **said)).status_code == 201
    assert (await send(shared_client, "said-other", body)).status_code == 201
    theirs, other = [await told_of(shared_client, f"said-{who}:1") for who in ("plain", "other")]
    assert (theirs["framework"], theirs["parameters"]["budget"]) == ("theirs", 7)
    assert (other["framework"], other["algorithm"]) == ("scikit-learn", "LogisticRegression")
    assert "budget" not in other["parameters"]
    assert "private==1" not in other["requirements"]


async def test_a_signature_that_somebody_gave_is_not_anothers(shared_client):
    body = skops_bytes(seed=23)
    assert (await send(shared_client, "signed-first", body, reference=data()[0])).status_code == 201
    given = (await told_of(shared_client, "signed-first:1"))["signature"]
    assert (await send(shared_client, "signed-second", body, signature=given)).status_code == 201
    assert (await send(shared_client, "signed-third", body)).status_code == 201
    third = (await told_of(shared_client, "signed-third:1"))["signature"]
    assert third["inputs"][0].get("minimum") is None
