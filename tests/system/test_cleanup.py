"""Clean-up (R11, S10): what nobody needs goes, what somebody needs stays, and a dry run says exactly which."""

import asyncio
import os
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from sqlalchemy import text

from app.core.access import Role
from app.core.jobs import DEFAULT, claim_job, run_claim
from app.evidence.jobs import job_handlers
from app.evidence.partitions import ensure_partitions, list_partitions
from app.evidence.profiles import Counted, Place, add_to_profile
from app.registry.actions import StoredFile, set_alias
from app.registry.errors import FilesCleanedAway, VersionNotFound
from app.registry.files import keep_blobs, let_nobody_keep_blobs
from app.registry.lifecycle import enthrone, move_stage, place_hold
from app.registry.queries import get_version
from app.registry.rules import Stage
from app.runtimes.profiles import Answered
from tests import make
from tests.conftest import TESTER
from tests.monitoring.making import plan_of

CLEANUP = "/api/system/cleanup"


async def clean_up(client, **order):
    answer = await client.post(CLEANUP, json=order)
    assert answer.status_code == 200, answer.text
    return answer.json()


def references(versions):
    return [version["model_id"] for version in versions]


async def remaining(service, count, name="m"):
    found = []
    async with service.state.database.reads() as session:
        for number in range(1, count + 1):
            try:
                found.append((await get_version(session, f"{name}:{number}")).number)
            except VersionNotFound:
                continue
    return found


@pytest.fixture
async def six(service):
    """Six versions: 1 to 3 archived, 4 in production before, 5 in production now, 6 in validation."""
    async with service.state.database.writes(TESTER) as session:
        versions = [await make.version(session, "m", Stage.ARCHIVED) for _ in range(3)]
        versions += [await make.version(session, "m", Stage.STAGING) for _ in range(2)]
        versions.append(await make.version(session, "m"))
        for version in versions[3:5]:
            await enthrone(session, version.id, reason="made so")
    return versions


async def test_a_dry_run_says_what_would_go_and_changes_nothing(client, service, six):
    report = await clean_up(client, keep_versions=1)
    assert report["dry_run"] is True
    assert references(report["versions"]) == ["m:3", "m:2", "m:1"]
    assert await remaining(service, 6) == [1, 2, 3, 4, 5, 6]


async def test_a_run_does_what_the_dry_run_said(client, service, six):
    said = await clean_up(client, keep_versions=1, dry_run=True)
    done = await clean_up(client, keep_versions=1, dry_run=False)
    assert said | {"dry_run": False} == done
    assert await remaining(service, 6) == [4, 5, 6]
    assert (await clean_up(client, keep_versions=1, dry_run=False))["versions"] == []


async def test_the_newest_versions_stay_whatever_their_stage(client, service, six):
    await clean_up(client, keep_versions=4, dry_run=False)
    assert await remaining(service, 6) == [3, 4, 5, 6]


async def test_without_a_limit_every_version_stays(client, service, six):
    assert (await clean_up(client, dry_run=False))["versions"] == []


async def test_versions_in_use_stay_and_the_report_says_who_needs_them(client, service, six):
    async with service.state.database.writes(TESTER) as session:
        await set_alias(session, six[0], "baseline")
        await place_hold(session, six[1].id, "experiment 7")
    report = await clean_up(client, keep_versions=0, dry_run=False)
    assert references(report["versions"]) == ["m:3"]
    assert {kept["model_id"]: kept["needed_by"] for kept in report["kept"]} == {
        "m:1": ["alias baseline"],
        "m:2": ["experiment 7"],
    }
    assert await remaining(service, 6) == [1, 2, 4, 5, 6]


async def test_what_a_rollback_would_return_to_stays(client, service, six):
    await clean_up(client, keep_versions=0, dry_run=False)
    assert await remaining(service, 6) == [4, 5, 6]


async def test_versions_archived_lately_stay_when_an_age_is_asked_for(client, service, six):
    assert (await clean_up(client, keep_versions=0, older_than_days=7))["versions"] == []


async def put_blob(service, body, *, days_old):
    store, settings = service.state.store, service.state.settings
    digest = await store.put_bytes(body)
    path = settings.base_path / "artifacts" / "blobs" / digest[:2] / digest
    then = (datetime.now(UTC) - timedelta(days=days_old)).timestamp()
    os.utime(path, (then, then))
    return digest


async def test_files_that_no_version_has_go_once_they_are_a_day_old(client, service):
    old = await put_blob(service, b"left behind", days_old=2)
    young = await put_blob(service, b"on its way", days_old=0)
    used = await put_blob(service, b"a model", days_old=2)
    async with service.state.database.writes(TESTER) as session:
        await make.version(session, files=(StoredFile("model.skops", used, 7),))
    assert (await clean_up(client))["blobs"] == [old]
    assert await service.state.store.exists(old)
    await clean_up(client, dry_run=False)
    assert [await service.state.store.exists(digest) for digest in (old, young, used)] == [False, True, True]


async def test_the_files_of_a_version_go_with_it_unless_another_has_them_too(client, service):
    shared = await put_blob(service, b"shared", days_old=2)
    own = await put_blob(service, b"own", days_old=2)
    files = (StoredFile("model.skops", shared, 6), StoredFile("extra", own, 3))
    async with service.state.database.writes(TESTER) as session:
        await make.version(session, "m", Stage.ARCHIVED, files=files)
        await make.version(session, "n", files=files[:1])
    assert (await clean_up(client, keep_versions=0))["blobs"] == [own]
    await clean_up(client, keep_versions=0, dry_run=False)
    assert [await service.state.store.exists(digest) for digest in (shared, own)] == [True, False]


async def test_files_being_registered_again_are_kept_from_a_clean_up_under_way(client, service):
    """The registration found them in the store; clean-up, which listed them before, waits for its commit."""
    known = await put_blob(service, b"unused, known", days_old=2)
    async with service.state.database.writes(TESTER) as session:
        await keep_blobs(session, service.state.store, [known])
        cleaning = asyncio.create_task(clean_up(client, dry_run=False))
        await eventually_waits_for_a_lock(service)
        await make.version(session, files=(StoredFile("model.skops", known, 13),))
    assert (await cleaning)["blobs"] == [known]  # it was unused when clean-up began
    assert await service.state.store.exists(known)


async def test_files_that_clean_up_takes_first_can_be_registered_only_when_sent_again(client, service):
    known = await put_blob(service, b"unused, known", days_old=2)
    async with service.state.database.writes(TESTER) as cleaning:
        await let_nobody_keep_blobs(cleaning)
        registering = asyncio.create_task(register(service, known))
        await eventually_waits_for_a_lock(service)
        await service.state.store.delete(known)
    with pytest.raises(FilesCleanedAway):
        await registering
    assert (await client.get("/api/models/m")).status_code == 404


async def register(service, digest):
    async with service.state.database.writes(TESTER) as session:
        await keep_blobs(session, service.state.store, [digest])
        await make.version(session, files=(StoredFile("model.skops", digest, 13),))


async def eventually_waits_for_a_lock(service):
    waiting = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
    async with asyncio.timeout(30), service.state.database.reads() as session:
        while not await session.scalar(waiting):  # noqa: ASYNC110 - what is waited for happens in Postgres
            await asyncio.sleep(0.01)


async def test_days_older_than_the_log_keeps_go(client, service):
    old = datetime.now(UTC).date() - timedelta(days=service.state.settings.prediction_retention_days + 1)
    async with service.state.database.writes(TESTER) as session:
        await ensure_partitions(session, [old, old + timedelta(days=2)])
    assert [date.fromisoformat(day) for day in (await clean_up(client))["log_days"]] == [old]
    assert (await clean_up(client, dry_run=False))["log_days"] == [old.isoformat()]
    async with service.state.database.reads() as session:
        assert old not in {day for _, day in await list_partitions(session)}


async def test_fine_sums_go_with_the_log_and_old_profiles_are_added_up_by_a_job(client, service):
    database, kept = service.state.database, service.state.settings.prediction_retention_days
    async with database.writes(TESTER) as session:
        version = await make.version(session)
    plan, generator = await plan_of(database, version), np.random.default_rng(7)
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    month, year = today - timedelta(days=40), today - timedelta(days=kept + 1)
    async with database.writes(TESTER) as session:
        await ensure_partitions(session, [year.date()])
        for i in range(24):
            rows = Counted(3, plan.profile(Answered(list(generator.normal(size=(2, 3))))))
            bucket = month + i * timedelta(minutes=5)
            await add_to_profile(session, Place(version.id, bucket, "production", "a", False), "one", rows)
        for minutes, start in ((5, year), (60, year), (5, today)):
            await session.execute(
                text(
                    "INSERT INTO live_outcome (version_id, environment, arm, shadow, minutes, bucket, model, version, rows,"
                    " labelled, sums, made_at) VALUES (:id, 'production', 'a', false, :minutes, :start, 'm', 1, 0, 0, '{}', now())"
                ),
                {"id": version.id, "minutes": minutes, "start": start},
            )
    counts = {"outcome_sums": 1, "profiles": 24}
    assert (await clean_up(client)).items() >= counts.items()
    assert (await clean_up(client, dry_run=False)).items() >= counts.items()
    handlers = job_handlers(service.state.settings)
    while claim := await claim_job(database, [DEFAULT], list(handlers)):
        await run_claim(claim, handlers[claim.kind])
    assert (await clean_up(client)).items() >= {"outcome_sums": 0, "profiles": 0}.items()
    async with database.reads() as session:
        added_up = await session.execute(
            text("SELECT minutes, count(*), sum(rows) FROM live_profile GROUP BY 1")
        )
        assert [tuple(row) for row in added_up] == [(60, 2, 72)]
        left = await session.execute(text("SELECT minutes, bucket FROM live_outcome ORDER BY bucket"))
        assert [tuple(row) for row in left] == [(60, year), (5, today)]


async def test_what_went_is_on_record(client, service, six):
    await clean_up(client, keep_versions=1, dry_run=False)
    facts = (await client.get("/api/system/audit", params={"kind": "CleanedUp"})).json()["items"]
    assert [fact["body"]["versions"] for fact in facts] == [["m:3", "m:2", "m:1"]]


async def test_clean_up_is_for_administrators_of_every_model(client, key_of):
    for role, models, status in [
        (Role.OPERATOR, ("*",), 403),
        (Role.ADMIN, ("churn-*",), 403),
        (Role.ADMIN, ("*",), 200),
    ]:
        answer = await client.post(CLEANUP, json={}, headers=await key_of(role, models))
        assert answer.status_code == status


async def test_several_pages_of_models_are_cleaned_up(client, service, monkeypatch):
    monkeypatch.setattr("app.system.cleanup.MODELS_AT_ONCE", 2)
    async with service.state.database.writes(TESTER) as session:
        for number in range(5):
            version = await make.version(session, f"m{number}")
            await move_stage(session, version.id, Stage.ARCHIVED, reason="made so")
    report = await clean_up(client, keep_versions=0)
    assert references(report["versions"]) == [f"m{number}:1" for number in range(5)]
