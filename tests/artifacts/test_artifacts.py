"""The artifact store on local disk (R1, R12, R13): stored once, unchanged, verified, encrypted; disk full."""

import asyncio
import os
import shutil
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.artifacts.encryption import MAGIC
from app.artifacts.errors import (
    ArtifactKeyMissing,
    BlobNotFound,
    CorruptArtifact,
    StorageFull,
)
from app.artifacts.manifests import Manifest, load_manifest, store_artifact
from app.artifacts.store import WHOLE_BYTES, open_artifact_store
from app.core.config import MIB, Settings
from tests.artifacts.making_artifacts import (
    GREETING,
    files_under,
    read,
    sha256,
    staged_files,
)
from tests.disks import may_mount, small_disk
from tests.faults.harness import eventually

ABSENT = "0" * 64


@pytest.fixture
def key_file(tmp_path):
    file = tmp_path / "artifact.key"
    file.write_bytes(os.urandom(32))
    return file


def open_store(tmp_path, **choices):
    return open_artifact_store(Settings(base_path=tmp_path, **choices))


@pytest.fixture(params=["plain", "encrypted"])
def store(request, tmp_path, key_file):
    return open_store(
        tmp_path, artifact_encryption_key_file=key_file if request.param == "encrypted" else None
    )


def blob_path(tmp_path, digest):
    return tmp_path / "artifacts" / "blobs" / digest[:2] / digest


@pytest.mark.parametrize("size", [0, 1, 65_536, MIB, WHOLE_BYTES, WHOLE_BYTES + 1, 3 * WHOLE_BYTES])
async def test_a_file_comes_back_byte_for_byte(tmp_path, store, size):
    body = os.urandom(size)
    [file] = staged_files(tmp_path, {"weights": body})
    await store.put_file(file.path, file.sha256)
    assert await store.exists(file.sha256)
    assert await read(store.open_stream(file.sha256)) == body
    assert files_under(tmp_path / "artifacts") == [f"blobs/{file.sha256[:2]}/{file.sha256}"]


async def test_the_same_bytes_are_stored_once(tmp_path, store):
    first, second = staged_files(tmp_path, {"one": GREETING, "two": GREETING})
    await store.put_file(first.path, first.sha256)
    written = blob_path(tmp_path, first.sha256).stat()
    await store.put_file(second.path, second.sha256)
    again = blob_path(tmp_path, first.sha256).stat()
    assert (again.st_ino, again.st_mtime_ns) == (written.st_ino, written.st_mtime_ns)


async def test_many_writers_of_one_blob_leave_one_blob(tmp_path, store):
    digests = await asyncio.gather(*(store.put_bytes(GREETING) for _ in range(16)))
    assert set(digests) == {sha256(GREETING)}
    assert len(files_under(tmp_path / "artifacts")) == 1
    assert await read(store.open_stream(digests[0])) == GREETING


async def test_what_is_not_there_is_said_to_be_missing(store):
    assert not await store.exists(ABSENT)
    with pytest.raises(BlobNotFound):
        await read(store.open_stream(ABSENT))
    await store.delete(ABSENT)


async def test_a_deleted_blob_is_gone(tmp_path, store):
    digest = await store.put_bytes(GREETING)
    await store.delete(digest)
    assert not await store.exists(digest)
    assert files_under(tmp_path / "artifacts") == []


async def test_blobs_are_listed_and_may_be_picked_by_age(store):
    digests = {await store.put_bytes(body) for body in (b"a", b"b", b"c")}
    assert {digest async for digest in store.list_digests()} == digests
    past, future = (datetime.now(UTC) + timedelta(hours=sign) for sign in (-1, 1))
    assert {digest async for digest in store.list_digests(stored_before=past)} == set()
    assert {digest async for digest in store.list_digests(stored_before=future)} == digests


@pytest.mark.parametrize("at", [0, 60, MIB, -1])
async def test_a_flipped_byte_never_leaves_the_store_whole(tmp_path, store, at):
    digest = await store.put_bytes(os.urandom(2 * MIB))
    path = blob_path(tmp_path, digest)
    body = bytearray(path.read_bytes())
    body[at] ^= 1
    path.write_bytes(body)
    with pytest.raises(CorruptArtifact) as refused:
        await read(store.open_stream(digest))
    assert refused.value.expected_sha256 == digest


async def test_a_truncated_blob_is_refused(tmp_path, store):
    digest = await store.put_bytes(GREETING * 10_000)
    os.truncate(blob_path(tmp_path, digest), 70_000)
    with pytest.raises(CorruptArtifact):
        await read(store.open_stream(digest))


async def test_an_encrypted_store_holds_no_plain_bytes(tmp_path, key_file):
    store = open_store(tmp_path, artifact_encryption_key_file=key_file)
    digest = await store.put_bytes(GREETING * 100)
    stored = blob_path(tmp_path, digest).read_bytes()
    assert stored.startswith(MAGIC)
    assert GREETING not in stored


async def test_plain_blobs_stay_readable_when_encryption_is_turned_on(tmp_path, key_file):
    digest = await open_store(tmp_path).put_bytes(GREETING)
    store = open_store(tmp_path, artifact_encryption_key_file=key_file)
    assert await read(store.open_stream(digest)) == GREETING


async def test_without_its_key_an_encrypted_blob_names_the_key(tmp_path, key_file):
    digest = await open_store(tmp_path, artifact_encryption_key_file=key_file).put_bytes(GREETING)
    stored = blob_path(tmp_path, digest).read_bytes()
    other = tmp_path / "other.key"
    other.write_bytes(os.urandom(32))
    for choice in (None, other):
        with pytest.raises(ArtifactKeyMissing) as refused:
            await read(open_store(tmp_path, artifact_encryption_key_file=choice).open_stream(digest))
        assert refused.value.key_id == stored[8:16].hex()


@pytest.mark.skipif(not may_mount(), reason="needs the right to mount a tmpfs")
@pytest.mark.parametrize("size", [7 * MIB, 12 * MIB])
@pytest.mark.parametrize("noticed", ["before", "while writing"])
async def test_a_full_disk_refuses_the_blob_and_keeps_no_part_of_it(tmp_path, monkeypatch, size, noticed):
    [file] = staged_files(tmp_path, {"weights": b"\1" * size})
    if noticed == "while writing":  # as when others fill the disk meanwhile
        monkeypatch.setattr("app.artifacts.store.require_space", lambda *_: None)
    with small_disk() as disk:
        store = open_store(tmp_path, artifact_storage=str(disk / "artifacts"))
        with pytest.raises(StorageFull):
            await store.put_file(file.path, file.sha256)
        assert files_under(disk) == []
        assert not await store.exists(file.sha256)
        await eventually(lambda: shutil.disk_usage(disk).free > MIB)  # its threads have let go of the draft
        digest = await store.put_bytes(GREETING)
        assert await read(store.open_stream(digest)) == GREETING


async def test_drafts_of_killed_writers_are_swept_a_day_later(tmp_path):
    store = open_store(tmp_path)
    digest = await store.put_bytes(GREETING)
    draft = blob_path(tmp_path, digest).with_name(f"{ABSENT}#1")
    draft.write_bytes(b"half")
    now = datetime.now(UTC)
    assert {each async for each in store.list_digests()} == {digest}
    assert store.sweep_partial_writes(now) == 0
    assert store.sweep_partial_writes(now + timedelta(days=2)) == 1
    assert files_under(tmp_path / "artifacts") == [f"blobs/{digest[:2]}/{digest}"]


WRITE_UNTIL_KILLED = """
import asyncio, sys
from pathlib import Path
from app.core.config import Settings
from app.artifacts.store import open_artifact_store
store = open_artifact_store(Settings(base_path=Path(sys.argv[1])))
asyncio.run(store.put_file(Path(sys.argv[2]), "0" * 64))
"""


async def test_a_writer_killed_midway_leaves_no_blob(tmp_path):
    with (tmp_path / "weights").open("wb") as file:
        file.truncate(2048 * MIB)
    command = [sys.executable, "-c", WRITE_UNTIL_KILLED, tmp_path, tmp_path / "weights"]
    writer = await asyncio.create_subprocess_exec(*command, cwd=Path(__file__).parents[2])
    while not list(tmp_path.glob("artifacts/blobs/*/*#*")):
        assert writer.returncode is None
        await asyncio.sleep(0.001)
    writer.kill()
    await writer.wait()
    store = open_store(tmp_path)
    assert not await store.exists(ABSENT)
    assert [digest async for digest in store.list_digests()] == []
    assert store.sweep_partial_writes(datetime.now(UTC) + timedelta(days=2)) == 1
    assert files_under(tmp_path / "artifacts") == []


@pytest.mark.parametrize("form", ["{}", "file://{}"])
async def test_a_directory_may_be_named_as_a_path_or_an_address(tmp_path, form):
    store = open_store(tmp_path, artifact_storage=form.format(tmp_path / "elsewhere" / "deep"))
    digest = await store.put_bytes(GREETING)
    assert files_under(tmp_path / "elsewhere") == [f"deep/blobs/{digest[:2]}/{digest}"]


async def test_an_artifact_is_stored_with_a_manifest_that_names_it(tmp_path, store):
    files = staged_files(tmp_path / "files", {"b/weights": b"1" * 5000, "a": b"2"})
    manifest = await store_artifact(store, files)
    assert (
        manifest.to_bytes()
        == (
            f'[{{"path":"a","sha256":"{sha256(b"2")}","size":1}},'
            f'{{"path":"b/weights","sha256":"{sha256(b"1" * 5000)}","size":5000}}]'
        ).encode()
    )
    assert manifest.digest == sha256(manifest.to_bytes())
    assert manifest.size_bytes == 5001
    assert await load_manifest(store, manifest.digest) == manifest
    assert Manifest.of(reversed(files)).digest == manifest.digest


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[1]",
        b"[{}]",
        b'[{"path":"a"}]',
        b'[{"path":1,"sha256":"","size":1}]',
        b'[ {"path":"a","sha256":"","size":1}]',
        b'[{"path":"b","sha256":"","size":1},{"path":"a","sha256":"","size":1}] ',
        b"\xff",
    ],
)
async def test_a_blob_that_is_no_manifest_is_refused_as_one(tmp_path, body):
    store = open_store(tmp_path)
    with pytest.raises(CorruptArtifact):
        await load_manifest(store, await store.put_bytes(body))
