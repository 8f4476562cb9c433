"""Artifacts materialised for loading (R1, R12, R13; faults: a byte flipped on disk, disk full, two processes at once)."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.artifacts.cache import ArtifactCache
from app.artifacts.errors import CorruptArtifact, SignatureMismatch, StorageFull
from app.artifacts.manifests import store_artifact
from app.artifacts.signing import open_signer
from app.artifacts.store import open_artifact_store
from app.core.config import MIB, Settings
from tests.artifacts.making_artifacts import files_under, staged_files
from tests.disks import may_mount, small_disk

BODIES = {"MLmodel": b"flavors", "data/weights": bytes(range(256)) * 8_000}


class Rig:
    """A store, a signer, a cache and one artifact that went through all of them."""

    def __init__(self, base: Path, settings: Settings) -> None:
        self.base = base
        self.store = open_artifact_store(settings)
        self.signer = open_signer(settings)
        self.cache = ArtifactCache(self.store, self.signer, settings.base_path)

    async def register(self, bodies, where="files"):
        files = staged_files(self.base / where, bodies)
        manifest = await store_artifact(self.store, files)
        return manifest, await asyncio.to_thread(self.signer.sign_directory, self.base / where)

    def blob(self, digest):
        return self.base / "artifacts" / "blobs" / digest[:2] / digest


@pytest.fixture(params=["plain", "encrypted"])
def rig(request, tmp_path):
    key_file = tmp_path / "key"
    key_file.write_bytes(os.urandom(32))
    chosen = key_file if request.param == "encrypted" else None
    return Rig(tmp_path, Settings(base_path=tmp_path, artifact_encryption_key_file=chosen))


def flip(path, at=3):
    body = bytearray(path.read_bytes())
    body[at] ^= 1
    path.write_bytes(body)


async def test_the_files_are_there_under_their_names_and_private(rig):
    manifest, signature = await rig.register(BODIES)
    directory = await rig.cache.materialise(manifest, signature)
    assert {name: (directory / name).read_bytes() for name in files_under(directory)} == BODIES
    assert directory.parent.stat().st_mode & 0o777 == 0o700
    assert list((rig.base / "staging").iterdir()) == []


async def test_the_second_load_fetches_nothing(rig):
    manifest, signature = await rig.register(BODIES)
    first = await rig.cache.materialise(manifest, signature)
    for file in manifest.files:
        await rig.store.delete(file.sha256)
    assert await rig.cache.materialise(manifest, signature) == first


async def test_a_byte_flipped_in_the_store_is_named_and_never_loaded(rig):
    manifest, signature = await rig.register(BODIES)
    flip(rig.blob(manifest.digests["data/weights"]), at=-5)
    with pytest.raises(CorruptArtifact) as refused:
        await rig.cache.materialise(manifest, signature)
    assert refused.value.file == "data/weights"
    assert refused.value.expected_sha256 == manifest.digests["data/weights"]
    assert files_under(rig.base / "cache") == []


async def test_a_blob_lost_from_the_store_is_named(rig):
    manifest, signature = await rig.register(BODIES)
    await rig.store.delete(manifest.digests["MLmodel"])
    with pytest.raises(CorruptArtifact, match="MLmodel"):
        await rig.cache.materialise(manifest, signature)
    assert files_under(rig.base / "cache") == []


@pytest.mark.parametrize(
    ("damage", "file"),
    [
        (lambda directory: flip(directory / "MLmodel"), "MLmodel"),
        (lambda directory: (directory / "data" / "weights").unlink(), "data/weights"),
        (lambda directory: (directory / "evil.py").write_bytes(b"1"), "evil.py"),
        (lambda directory: (directory / "link").symlink_to("/etc/passwd"), "link"),
    ],
)
async def test_a_local_copy_that_was_touched_is_refused_once_and_then_fetched_again(rig, damage, file):
    manifest, signature = await rig.register(BODIES)
    damage(await rig.cache.materialise(manifest, signature))
    with pytest.raises(CorruptArtifact) as refused:
        await rig.cache.materialise(manifest, signature)
    assert refused.value.file == file
    directory = await rig.cache.materialise(manifest, signature)
    assert {name: (directory / name).read_bytes() for name in files_under(directory)} == BODIES


async def test_a_signature_of_other_files_is_refused_and_the_copy_stays(rig):
    manifest, signature = await rig.register(BODIES)
    _, foreign = await rig.register({"MLmodel": b"other"}, where="others")
    with pytest.raises(SignatureMismatch):
        await rig.cache.materialise(manifest, foreign)
    with pytest.raises(SignatureMismatch):
        await rig.cache.materialise(manifest, b"")
    assert files_under(await rig.cache.materialise(manifest, signature)) == sorted(BODIES)


async def test_files_swapped_together_with_their_signature_are_refused(rig):
    manifest, signature = await rig.register(BODIES)
    other, foreign = await rig.register({"MLmodel": b"other"}, where="others")
    directory = await rig.cache.materialise(manifest, signature)
    rig.cache.discard(manifest.digest)
    (await rig.cache.materialise(other, foreign)).rename(directory)
    with pytest.raises(SignatureMismatch, match="other files"):
        await rig.cache.materialise(manifest, foreign)


async def test_callers_at_the_same_time_share_one_run_even_if_one_leaves(rig):
    manifest, signature = await rig.register(BODIES)
    callers = [asyncio.create_task(rig.cache.materialise(manifest, signature)) for _ in range(10)]
    await asyncio.sleep(0)
    callers[0].cancel()
    answers = await asyncio.gather(*callers, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert len(set(answers[1:])) == 1
    assert files_under(answers[1]) == sorted(BODIES)


async def test_two_processes_at_once_both_get_the_whole_artifact(rig):
    manifest, signature = await rig.register(BODIES)
    rivals = [
        ArtifactCache(rig.store, rig.signer, rig.base) for _ in range(4)
    ]  # as in processes: nothing is shared
    answers = await asyncio.gather(*(rival.materialise(manifest, signature) for rival in rivals))
    assert {files_under(answer) == sorted(BODIES) for answer in answers} == {True}
    assert list((rig.base / "staging").iterdir()) == []


async def test_a_discarded_copy_is_gone_and_may_be_discarded_again(rig):
    manifest, signature = await rig.register(BODIES)
    directory = await rig.cache.materialise(manifest, signature)
    rig.cache.discard(manifest.digest)
    rig.cache.discard(manifest.digest)
    assert not directory.exists()


@pytest.mark.skipif(not may_mount(), reason="needs the right to mount a tmpfs")
async def test_a_full_disk_leaves_no_half_artifact(rig, tmp_path, monkeypatch):
    manifest, signature = await rig.register({"weights": b"\1" * (9 * MIB)})
    monkeypatch.setattr("app.artifacts.cache.require_space", lambda *_: None)
    with small_disk() as disk:
        with pytest.raises(StorageFull):
            await ArtifactCache(rig.store, rig.signer, disk).materialise(manifest, signature)
        assert files_under(disk) == []


THROUGH_EVERYTHING = """
import asyncio, os, resource, sys
from pathlib import Path
from app.core.config import MIB, Settings
from app.artifacts.cache import ArtifactCache
from app.artifacts.store import open_artifact_store
from app.artifacts.manifests import store_artifact
from app.artifacts.signing import open_signer
from app.artifacts.uploads import open_staging

base, mebibytes, key_file = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] or None
settings = Settings(base_path=base, artifact_encryption_key_file=key_file)

async def body():
    for number in range(mebibytes * 16):
        yield number.to_bytes(8) * 8192

async def main():
    store, signer = open_artifact_store(settings), open_signer(settings)
    (base / "small").mkdir()
    (base / "small" / "file").write_bytes(b"1")
    signer.verify_directory(base / "small", signer.sign_directory(base / "small"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with open_staging(base) as staging:
        staged = await staging.receive("weights", body(), max_bytes=2**40)
        manifest = await store_artifact(store, [staged])
        signature = await asyncio.to_thread(signer.sign_directory, staging.files_directory)
    directory = await ArtifactCache(store, signer, base).materialise(manifest, signature)
    assert (directory / "weights").stat().st_size == mebibytes * MIB
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)

asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.parametrize("encrypted", [False, True])
async def test_an_artifact_of_256_mib_goes_through_flat_memory(tmp_path, encrypted):
    key_file = tmp_path / "key"
    key_file.write_bytes(os.urandom(32))
    command = [sys.executable, "-c", THROUGH_EVERYTHING, tmp_path, "256", key_file if encrypted else ""]
    done = await asyncio.to_thread(
        subprocess.run,
        command,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        cwd=Path(__file__).parents[2],
    )
    grown_mib = int(done.stdout)
    assert grown_mib < 96
