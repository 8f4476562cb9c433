"""D11: what is appended to the spool is read back, whatever happened to the file since; a full disk costs a 507."""

import asyncio
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.evidence.errors import SpoolFull, SpoolUnwritable
from app.evidence.segments import HEAD, SUFFIX, Segment, enframe, marker_of
from tests.evidence.making import MIB, open_spool

PAYLOADS = st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=8)


def segments_in(root):
    return sorted(root.glob(f"*/*{SUFFIX}"))


def read_all(path, *, max_bytes=MIB, max_frames=1000):
    with Segment.opened(path) as segment:
        return segment.read(0, max_bytes=max_bytes, max_frames=max_frames)


def payloads_of(stretch):
    return [piece.payload for piece in stretch.pieces]


def written(root, payloads):
    """The segment that holds these frames, and where each of them ends."""
    spool = open_spool(root)
    spool.append(*payloads)
    spool.close()
    (path,) = segments_in(root)
    ends = [sum(HEAD.size + len(p) for p in payloads[: i + 1]) for i in range(len(payloads))]
    return path, ends


@given(PAYLOADS, st.integers(1, 200), st.integers(1, 3))
def test_frames_are_read_in_order_however_small_the_sips(payloads, max_bytes, max_frames):
    with tempfile.TemporaryDirectory() as name:
        path, _ = written(Path(name), payloads)
        found, offset = [], 0
        with Segment.opened(path) as segment:
            while offset < segment.size:
                stretch = segment.read(offset, max_bytes=max_bytes, max_frames=max_frames)
                assert not stretch.damages
                found += payloads_of(stretch)
                offset = stretch.end
    assert found == payloads


@given(PAYLOADS, st.data())
def test_a_segment_cut_anywhere_loses_only_the_frame_that_was_cut(payloads, data):
    with tempfile.TemporaryDirectory() as name:
        path, ends = written(Path(name), payloads)
        cut = data.draw(st.integers(0, ends[-1]))
        os.truncate(path, cut)
        stretch = read_all(path)
    whole = sum(end <= cut for end in ends)
    assert payloads_of(stretch) == payloads[:whole]
    assert stretch.end == cut
    assert sum(len(damage.content) for damage in stretch.damages) == cut - (ends[whole - 1] if whole else 0)


@given(PAYLOADS, st.data())
def test_a_changed_byte_costs_the_frame_that_it_lies_in_and_no_other(payloads, data):
    with tempfile.TemporaryDirectory() as name:
        path, ends = written(Path(name), payloads)
        place = data.draw(st.integers(0, ends[-1] - 1))
        content = bytearray(path.read_bytes())
        content[place] ^= data.draw(st.integers(1, 255))
        path.write_bytes(content)
        stretch = read_all(path)
    hit = sum(end <= place for end in ends)
    assert payloads_of(stretch) == payloads[:hit] + payloads[hit + 1 :]
    assert stretch.end == ends[-1]
    assert len(stretch.damages) == 1


def test_a_payload_that_holds_a_whole_frame_does_not_pass_for_one(tmp_path):
    forged = enframe(b"guess!!!", b"forged")
    path, ends = written(tmp_path, [forged, b"real"])
    content = bytearray(path.read_bytes())
    content[HEAD.size - 1] ^= 1
    path.write_bytes(content)
    stretch = read_all(path)
    assert payloads_of(stretch) == [b"real"]
    assert [(d.start, len(d.content), d.is_tail) for d in stretch.damages] == [(0, ends[0], False)]


def test_the_unfinished_end_of_a_segment_that_is_being_written_is_waited_for(tmp_path):
    spool = open_spool(tmp_path)
    spool.append(b"first")
    (path,) = segments_in(tmp_path)
    with path.open("ab") as file:  # as a reader may find a write under way
        file.write(enframe(marker_of(UUID(path.stem)), b"second")[:-1])
    stretch = read_all(path)
    assert payloads_of(stretch) == [b"first"]
    assert stretch.end == HEAD.size + len(b"first")
    assert not stretch.damages
    spool.close()
    assert [damage.is_tail for damage in read_all(path).damages] == [True]


def test_a_segment_is_closed_when_its_writer_closes_it_and_not_before(tmp_path):
    spool = open_spool(tmp_path)
    spool.append(b"x")
    (path,) = segments_in(tmp_path)
    with Segment.opened(path) as segment:
        assert not segment.is_closed
    spool.close()
    with Segment.opened(path) as segment:
        assert segment.is_closed


def test_a_full_segment_is_closed_and_another_begun(tmp_path):
    spool = open_spool(tmp_path, segment_bytes=100)
    for number in range(5):
        spool.append(b"%d" % number * 40)
    spool.append(b"larger than a segment" * 10)
    spool.close()
    contents = [payloads_of(read_all(path)) for path in segments_in(tmp_path)]
    expected = [*([b"%d" % number * 40] for number in range(5)), [b"larger than a segment" * 10]]
    assert sorted(contents) == expected


def test_a_restarted_process_never_writes_into_an_older_segment(tmp_path):
    for payload in (b"before", b"after"):
        spool = open_spool(tmp_path)
        spool.append(payload)
        spool.close()
    contents = [payloads_of(read_all(path)) for path in segments_in(tmp_path)]
    assert sorted(contents) == [[b"after"], [b"before"]]


def test_a_full_spool_refuses_and_takes_again_once_something_was_shipped(tmp_path):
    spool = open_spool(tmp_path, max_bytes=250, segment_bytes=100)
    spool.append(b"x" * 80)
    spool.append(b"x" * 80)
    with pytest.raises(SpoolFull) as refusal:
        spool.append(b"x" * 80)
    assert refusal.value.status == 507
    assert [len(payloads_of(read_all(path))) for path in segments_in(tmp_path)] == [1, 1]
    segments_in(tmp_path)[0].unlink()
    spool._recount_at = 0.0  # as if a moment had passed
    spool.append(b"x" * 80)
    spool.close()


WRITE_UNTIL_THE_DISK_IS_FULL = """
import resource, sys
from pathlib import Path
from app.evidence.errors import SpoolUnwritable
from app.evidence.spool import Spool
spool = Spool(Path(sys.argv[1]) / "http-0", max_bytes=1 << 30)
spool.append(b"a" * 1000)
resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500))  # the kernel writes up to here, then refuses
try:
    spool.append(b"b" * 300, b"c" * 1000)
except SpoolUnwritable as error:
    print(error.reason)
spool.append(b"d" * 10)
"""


def test_a_disk_that_fills_up_in_mid_write_leaves_nothing_half_written(tmp_path):
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    child = subprocess.run(
        [sys.executable, "-c", WRITE_UNTIL_THE_DISK_IS_FULL, str(tmp_path)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert child.returncode == 0, child.stderr
    assert child.stdout.strip() == "File too large"
    stretches = [read_all(path) for path in segments_in(tmp_path)]
    assert sorted(map(payloads_of, stretches)) == [[b"a" * 1000], [b"d" * 10]]
    assert not any(stretch.damages for stretch in stretches)


def test_a_spool_whose_directory_is_gone_refuses_with_the_reason(tmp_path):
    spool = open_spool(tmp_path)
    spool.directory.rmdir()
    with pytest.raises(SpoolUnwritable, match="No such file") as refusal:
        spool.append(b"x")
    assert refusal.value.status == 507


async def test_synced_appends_of_many_share_the_disk_and_all_arrive(tmp_path, monkeypatch):
    syncs = 0
    real = os.fdatasync

    def fdatasync(descriptor):
        nonlocal syncs
        syncs += 1
        real(descriptor)

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    spool = open_spool(tmp_path, segment_bytes=2000)
    await asyncio.gather(*(spool.append_synced(b"%03d" % number) for number in range(200)))
    spool.close()
    found = [payload for path in segments_in(tmp_path) for payload in payloads_of(read_all(path))]
    assert sorted(found) == [b"%03d" % number for number in range(200)]
    assert syncs <= 2 * len(segments_in(tmp_path))


async def test_a_sync_that_fails_refuses_everybody_who_waited_for_it(tmp_path, monkeypatch):
    def fdatasync(_descriptor):
        raise OSError(5, "Input/output error")

    spool = open_spool(tmp_path)
    monkeypatch.setattr(os, "fdatasync", fdatasync)
    results = await asyncio.gather(*(spool.append_synced(b"x") for _ in range(5)), return_exceptions=True)
    assert {type(result) for result in results} == {SpoolUnwritable}
    monkeypatch.undo()
    await spool.append_synced(b"y")
    spool.close()


async def test_a_cancelled_wait_for_the_disk_harms_nobody(tmp_path):
    spool = open_spool(tmp_path)
    tasks = [asyncio.create_task(spool.append_synced(b"%d" % number)) for number in range(4)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert results[1:] == [None, None, None]
    spool.close()
    (path,) = segments_in(tmp_path)
    assert payloads_of(read_all(path)) == [b"0", b"1", b"2", b"3"]


def test_what_a_process_left_unnamed_when_it_was_killed_is_cleared_away(tmp_path):
    leftover = tmp_path / "http-0" / "half.new"
    leftover.parent.mkdir()
    leftover.touch()
    open_spool(tmp_path).close()
    assert not leftover.exists()
