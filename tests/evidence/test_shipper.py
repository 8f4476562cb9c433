"""D11: every frame of every spool reaches the log exactly once; what can't is set aside and holds up nothing."""

import asyncio
import errno
import json
import os
import re
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from app.core.config import MIB
from app.core.database import Database
from app.core.ids import new_id
from app.evidence import shipper as shipping
from app.evidence.backlog import Spools
from app.evidence.frames import encode_frame
from app.evidence.segments import SUFFIX
from app.evidence.shipper import Shipper
from tests.conftest import TESTER
from tests.evidence.making import (
    count,
    log_requests,
    logged_ids,
    open_spool,
    scored_request,
    ship_all,
    spool_requests,
)


def segments_in(root):
    return sorted(root.glob(f"*/*{SUFFIX}"))


def set_aside_in(root):
    return [json.loads(path.read_text()) for path in sorted((root / "quarantine").glob("*.json"))]


async def position_of(database: Database):
    async with database.reads() as session:
        return (await session.execute(text("SELECT * FROM spool_position"))).one()


async def test_everything_about_a_prediction_reaches_the_log(database, tmp_path):
    scored = scored_request(2, features=[["red", 3], [None, 4]], failures={1: "too hot"}, entity_id="e-1")
    refused_id = new_id()
    scored.refused = [(refused_id, [{"column": "x0", "problem": "is null"}])]
    await log_requests(database, tmp_path, scored)
    async with database.reads() as session:
        rows = {row.id: row for row in await session.execute(text("SELECT * FROM prediction"))}
    good, failed, refused = rows[scored.ids[0]], rows[scored.ids[1]], rows[refused_id]
    assert (good.features, good.output, good.probabilities, good.confidence) == (
        ["red", 3],
        1,
        [0.25, 0.75],
        0.75,
    )
    assert (good.model, good.version, good.arm, good.propensity) == ("m", 1, "champion", 0.75)
    assert (good.request_id, good.caller, good.entity_id, good.latency_ms) == ("r-1", "checkout", "e-1", 1.5)
    assert (failed.features, failed.output, failed.error) == ([None, 4], None, "too hot")
    assert (refused.features, refused.error) == (None, [{"column": "x0", "problem": "is null"}])
    assert good.at.timestamp() * 1000 == pytest.approx(good.id.int >> 80)


async def test_a_shipped_segment_is_deleted_once_its_writer_has_closed_it(database, tmp_path):
    spool = open_spool(tmp_path)
    spool.append(encode_frame(scored_request()))
    await ship_all(database, tmp_path)
    assert len(segments_in(tmp_path)) == 1
    spool.append(encode_frame(scored_request()))
    spool.close()
    await ship_all(database, tmp_path)
    assert segments_in(tmp_path) == []
    assert await count(database, "SELECT count(*) FROM prediction") == 2


async def test_a_round_asks_for_another_only_when_more_waits_than_it_took(database, tmp_path, monkeypatch):
    monkeypatch.setattr(shipping, "MAX_FRAMES", 2)
    spool, shipper = open_spool(tmp_path), Shipper(database, tmp_path)
    spool.append(*[encode_frame(scored_request()) for _ in range(5)])
    assert [await shipper.ship_round() for _ in range(3)] == [True, True, False]
    spool.append(encode_frame(scored_request()))
    assert await shipper.ship_round() is False
    assert await count(database, "SELECT count(*) FROM prediction") == 6
    spool.close()


async def test_a_segment_that_comes_back_from_the_dead_is_not_shipped_again(database, tmp_path):
    spool_requests(tmp_path, scored_request(3))
    (path,) = segments_in(tmp_path)
    content = path.read_bytes()
    await ship_all(database, tmp_path)
    path.write_bytes(content)
    await ship_all(database, tmp_path)
    assert await count(database, "SELECT count(*) FROM prediction") == 3
    assert segments_in(tmp_path) == []


async def test_two_shippers_by_mistake_ship_each_frame_once(database, tmp_path, monkeypatch):
    monkeypatch.setattr(shipping, "MAX_FRAMES", 7)
    requests = [scored_request() for _ in range(200)]
    spool_requests(tmp_path, *requests)
    await asyncio.gather(*(ship_all(database, tmp_path) for _ in range(3)))
    assert await logged_ids(database) == sorted(request.ids[0] for request in requests)


async def test_frames_of_other_processes_are_shipped_too_dead_or_alive(database, tmp_path):
    alive = open_spool(tmp_path, "http-1")
    alive.append(encode_frame(scored_request()))
    open_spool(tmp_path, "gone").append(encode_frame(scored_request()))
    await ship_all(database, tmp_path)
    assert await count(database, "SELECT count(*) FROM prediction") == 2
    alive.close()


async def test_a_damaged_frame_is_skipped_counted_and_kept(database, tmp_path):
    requests = [scored_request() for _ in range(3)]
    spool_requests(tmp_path, *requests)
    (path,) = segments_in(tmp_path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    await ship_all(database, tmp_path)
    assert await logged_ids(database) == sorted([requests[0].ids[0], requests[2].ids[0]])
    position = await position_of(database)
    assert position.lost_bytes == len(content) // 3
    assert [piece["reason"] for piece in set_aside_in(tmp_path)] == ["no readable frame"]


async def test_a_torn_end_is_dropped_with_its_segment(database, tmp_path):
    kept = scored_request()
    spool_requests(tmp_path, kept, scored_request())
    (path,) = segments_in(tmp_path)
    path.write_bytes(path.read_bytes()[:-1])
    await ship_all(database, tmp_path)
    assert await logged_ids(database) == kept.ids
    assert segments_in(tmp_path) == []
    assert set_aside_in(tmp_path) == []


async def test_a_frame_that_means_nothing_is_set_aside(database, tmp_path):
    spool = open_spool(tmp_path)
    good = scored_request()
    spool.append(b"\x63 from a future version", encode_frame(good))
    spool.close()
    await ship_all(database, tmp_path)
    assert await logged_ids(database) == good.ids
    assert (await position_of(database)).quarantined == 1
    assert len(set_aside_in(tmp_path)) == 1


@pytest.mark.parametrize("place", [0, 5, 19])
async def test_a_frame_that_the_database_refuses_holds_up_nothing(database, tmp_path, place):
    requests = [scored_request() for _ in range(20)]
    requests[place].caller = "NUL \0 can't be stored"
    spool_requests(tmp_path, *requests)
    await ship_all(database, tmp_path)
    good = requests[:place] + requests[place + 1 :]
    assert await logged_ids(database) == sorted(request.ids[0] for request in good)
    assert [piece["offset"] > 0 for piece in set_aside_in(tmp_path)] == [place > 0]
    async with database.reads() as session:
        part = await Spools(tmp_path, MIB).examine(session)
    assert (part.condition, part.figures["quarantined"]) == ("degraded", 1)


async def test_a_spool_that_can_not_be_read_holds_up_no_other(database, tmp_path):
    (tmp_path / "broken" / f"{new_id()}{SUFFIX}").mkdir(parents=True)
    spool_requests(tmp_path, scored_request())
    with pytest.raises(IsADirectoryError):
        await Shipper(database, tmp_path).ship_round()
    assert await count(database, "SELECT count(*) FROM prediction") == 1


async def test_frames_of_a_day_long_ago_get_their_partition(database, tmp_path):
    old = UUID(int=(1_600_000_000_000 << 80) | (new_id().int & ((1 << 80) - 1)))
    await log_requests(database, tmp_path, scored_request(ids=[old]))
    assert await count(database, "SELECT count(*) FROM prediction_20200913") == 1


async def test_the_backlog_tells_how_much_waits_and_for_how_long(database, tmp_path):
    spool, spools = open_spool(tmp_path), Spools(tmp_path, MIB)
    async with database.reads() as session:
        assert (await spools.measure(session)).bytes == 0
    spool.append(encode_frame(scored_request()))
    await ship_all(database, tmp_path)
    hour_ago = UUID(int=new_id().int - (3_600_000 << 80))
    late = encode_frame(scored_request(ids=[hour_ago]))
    spool.append(late, late)
    async with database.reads() as session:
        backlog = await spools.measure(session)
        part = await spools.examine(session)
    assert backlog.bytes == 2 * (len(late) + 16)
    assert backlog.frames == 2
    assert backlog.oldest_seconds == pytest.approx(3600, abs=5)
    assert part.reason.endswith("s behind")
    spool.close()


async def test_without_the_database_what_it_said_last_bounds_what_waits(database, tmp_path):
    spool, spools = open_spool(tmp_path), Spools(tmp_path, MIB)
    frame = encode_frame(scored_request())
    size = len(frame) + 16
    spool.append(frame)
    assert spools.examine_alone().figures["bytes"] == size  # it never said anything
    await ship_all(database, tmp_path)
    async with database.reads() as session:
        assert (await spools.examine(session)).condition == "ok"
    assert spools.examine_alone().figures["bytes"] == 0
    spool.append(encode_frame(scored_request(ids=[UUID(int=new_id().int - (90_000 << 80))])), frame)
    part = spools.examine_alone()
    assert part.condition == "degraded"
    assert re.search(r"while the database is away, at most \d+ bytes for at most 9\d s$", part.reason)
    assert (part.figures["frames"], part.figures["is_exact"]) == (2, False)
    await ship_all(database, tmp_path)
    assert spools.examine_alone().figures["bytes"] == part.figures["bytes"]
    spool.close()


async def test_a_spool_that_is_nearly_full_degrades_the_service_with_the_database_and_without(
    database, tmp_path
):
    small, large = open_spool(tmp_path, "http-0"), open_spool(tmp_path, "http-1")
    small.append(encode_frame(scored_request()))
    frame = encode_frame(scored_request())
    large.append(*[frame] * 9)
    spools = Spools(tmp_path, 10 * (len(frame) + 16))
    async with database.reads() as session:
        parts = [await spools.examine(session), spools.examine_alone()]
    for part in parts:
        assert part.condition == "degraded"
        assert part.reason.startswith("the fullest spool holds 90% of what it may")
    small.close()
    large.close()


async def test_a_spool_that_can_not_be_looked_at_is_told_and_nothing_more(database, tmp_path, monkeypatch):
    spool = open_spool(tmp_path)
    spool.append(encode_frame(scored_request()))
    monkeypatch.setattr(os, "open", refused)
    async with database.reads() as session:
        parts = [await Spools(tmp_path, MIB).examine(session), Spools(tmp_path, MIB).examine_alone()]
    assert [(part.condition, part.reason) for part in parts] == [
        ("degraded", "the spools can't be read: Input/output error")
    ] * 2
    spool.close()


def refused(*_):
    raise OSError(errno.EIO, os.strerror(errno.EIO))


async def test_rows_and_offset_are_one_transaction(database, tmp_path):
    requests = [scored_request() for _ in range(4)]
    spool_requests(tmp_path, *requests)
    async with database.writes(TESTER) as session:
        await session.execute(text("ALTER TABLE spool_position ADD CONSTRAINT stuck CHECK (rows < 4)"))
    with pytest.raises(IntegrityError):
        await ship_all(database, tmp_path)
    assert await logged_ids(database) == []
    async with database.writes(TESTER) as session:
        await session.execute(text("ALTER TABLE spool_position DROP CONSTRAINT stuck"))
    await ship_all(database, tmp_path)
    assert await logged_ids(database) == sorted(request.ids[0] for request in requests)
