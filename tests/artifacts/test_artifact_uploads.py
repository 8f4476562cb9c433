"""Staged uploads (R1; bad input: length, digest, names; faults: kill -9 mid-upload, disk full, a caller that leaves)."""

import asyncio
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.artifacts.errors import (
    FileNameTaken,
    StorageFull,
    UnsafeFileName,
    UploadDigestMismatch,
    UploadLengthMismatch,
    UploadTooLarge,
)
from app.artifacts.uploads import open_staging, sweep_staging
from app.core.config import MIB
from tests.artifacts.making_artifacts import GREETING, chunks_of, files_under, sha256
from tests.disks import may_mount, small_disk


async def test_a_file_is_staged_with_its_size_and_digest(tmp_path):
    body = bytes(range(256)) * 20_000
    async with open_staging(tmp_path) as staging:
        staged = await staging.receive(
            "model/weights.bin",
            chunks_of(body),
            max_bytes=len(body),
            declared_bytes=len(body),
            expected_sha256=sha256(body).upper(),
        )
        assert staged.path.read_bytes() == body
        assert (staged.name, staged.size, staged.sha256) == ("model/weights.bin", len(body), sha256(body))
        assert staged.path == staging.files_directory / "model/weights.bin"


async def test_an_empty_file_is_a_file(tmp_path):
    async with open_staging(tmp_path) as staging:
        staged = await staging.receive("empty", chunks_of(b""), max_bytes=10, declared_bytes=0)
        assert (staged.size, staged.sha256) == (0, sha256(b""))


@pytest.mark.parametrize(
    ("name", "limits", "refusal"),
    [
        ("a", {"max_bytes": 13}, UploadTooLarge),
        ("a", {"max_bytes": 99, "declared_bytes": 13}, UploadLengthMismatch),
        ("a", {"max_bytes": 99, "declared_bytes": 15}, UploadLengthMismatch),
        ("a", {"max_bytes": 99, "expected_sha256": "0" * 64}, UploadDigestMismatch),
        ("../a", {"max_bytes": 99}, UnsafeFileName),
    ],
)
async def test_a_refused_upload_leaves_nothing_on_disk(tmp_path, name, limits, refusal):
    async def upload():
        async with open_staging(tmp_path) as staging:
            await staging.receive("before", chunks_of(GREETING), max_bytes=99)
            await staging.receive(name, chunks_of(GREETING), **limits)

    with pytest.raises(refusal):
        await upload()
    assert files_under(tmp_path) == []
    assert list((tmp_path / "staging").iterdir()) == []


async def test_a_body_that_never_ends_is_stopped_at_the_limit(tmp_path):
    sent = 0

    async def endless():
        nonlocal sent
        while True:
            sent += MIB
            yield b"\0" * MIB

    with pytest.raises(UploadTooLarge):
        async with open_staging(tmp_path) as staging:
            await staging.receive("endless", endless(), max_bytes=3 * MIB)
    assert sent <= 4 * MIB


async def test_the_same_name_twice_is_refused(tmp_path):
    async with open_staging(tmp_path) as staging:
        await staging.receive("a", chunks_of(GREETING), max_bytes=99)
        with pytest.raises(FileNameTaken):
            await staging.receive("A", chunks_of(GREETING), max_bytes=99)


async def test_a_caller_that_leaves_mid_upload_leaves_nothing_behind(tmp_path):
    begun = asyncio.Event()

    async def slow():
        yield b"\1" * (2 * MIB)
        begun.set()
        await asyncio.sleep(60)
        yield b""

    async def upload():
        async with open_staging(tmp_path) as staging:
            await staging.receive("a", slow(), max_bytes=9 * MIB)

    task = asyncio.create_task(upload())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert list((tmp_path / "staging").iterdir()) == []


async def test_the_staging_directory_is_private(tmp_path):
    async with open_staging(tmp_path) as staging:
        assert staging.files_directory.parent.stat().st_mode & 0o777 == 0o700


async def test_what_a_killed_process_left_behind_is_swept_and_nothing_else(tmp_path):
    owner = start_upload_elsewhere(tmp_path)
    foreign = tmp_path / "staging" / "lost+found"
    foreign.mkdir()
    async with open_staging(tmp_path) as here:
        assert sweep_staging(tmp_path) == 0  # both are being written: one by another process, one by this
        owner.kill()
        owner.wait()
        assert sweep_staging(tmp_path) == 1
        assert {*(tmp_path / "staging").iterdir()} == {here.files_directory.parent, foreign}
    assert list((tmp_path / "staging").iterdir()) == [foreign]


def test_many_sweep_at_once_while_others_upload(tmp_path):
    """Between making its directory and locking it, an upload may lose it to a sweep, and makes another."""

    async def upload(number):
        async with open_staging(tmp_path) as staging:
            staged = await staging.receive("a", chunks_of(b"%d" % number), max_bytes=99)
            return staged.path.read_bytes()

    async def upload_many():
        return [await upload(number) for number in range(50)]

    with ThreadPoolExecutor(6) as threads:
        sweeps = [threads.submit(lambda: [sweep_staging(tmp_path) for _ in range(200)]) for _ in range(2)]
        uploads = [threads.submit(asyncio.run, upload_many()) for _ in range(4)]
        assert all(each.result() == [b"%d" % number for number in range(50)] for each in uploads)
        for each in sweeps:
            each.result()
    assert list((tmp_path / "staging").iterdir()) == []


def start_upload_elsewhere(base_path):
    """Another process in the midst of an upload."""
    code = (
        "import asyncio, sys; from pathlib import Path; from app.artifacts.uploads import open_staging\n"
        "async def hang():\n"
        "    async with open_staging(Path(sys.argv[1])) as staging:\n"
        "        (staging.files_directory / 'half').write_bytes(b'half')\n"
        "        print('begun', flush=True)\n"
        "        await asyncio.Event().wait()\n"
        "asyncio.run(hang())\n"
    )
    owner = subprocess.Popen([sys.executable, "-c", code, str(base_path)], stdout=subprocess.PIPE)
    with owner.stdout:
        assert owner.stdout.readline() == b"begun\n"
    return owner


def test_sweeping_before_the_first_upload_finds_nothing(tmp_path):
    assert sweep_staging(tmp_path) == 0


async def test_a_full_disk_refuses_the_upload_and_is_left_clean(tmp_path):
    with small_disk() if may_mount() else limited_file_size(tmp_path) as base:
        with pytest.raises(StorageFull):
            async with open_staging(base) as staging:
                await staging.receive("a", chunks_of(b"\1" * (8 * MIB)), max_bytes=99 * MIB)
        assert files_under(base) == []


@pytest.mark.skipif(not may_mount(), reason="needs the right to mount a tmpfs")
async def test_a_declared_length_past_the_free_space_is_refused_before_the_body(tmp_path):
    async def never():
        raise AssertionError("the body was read")
        yield b""

    with small_disk() as base, pytest.raises(StorageFull):
        async with open_staging(base) as staging:
            await staging.receive("a", never(), max_bytes=99 * MIB, declared_bytes=8 * MIB)


class limited_file_size:  # noqa: N801 - used as a context manager
    """Where no file system can be mounted, a limit of file size fails writes the same way."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def __enter__(self) -> Path:
        import resource

        self.before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2 * MIB, self.before[1]))
        return self.directory

    def __exit__(self, *_: object) -> None:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, self.before)
