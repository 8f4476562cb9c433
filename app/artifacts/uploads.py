"""Uploads on their way in: streamed to a private directory with flat memory, hashed as they are written."""

import fcntl
import hashlib
import os
import shutil
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

from app.artifacts.archives import ArchiveLimits, is_archive, is_skops, read_archive, unsafe_archive_refused
from app.artifacts.disk import full_disk_refused, require_space, run_to_end
from app.artifacts.errors import (
    UnsafeArchive,
    UploadDigestMismatch,
    UploadLengthMismatch,
    UploadTooLarge,
)
from app.artifacts.filenames import NamesInUse
from app.artifacts.tarballs import Member
from app.core.config import MIB
from app.core.ids import new_id

BLOCK_BYTES = MIB


@dataclass(frozen=True)
class StagedFile:
    """A file that has arrived whole: its name in the artifact, where it lies now, and what it is."""

    name: str
    path: Path
    size: int
    sha256: str


class Staging:
    """One upload's private directory. Get one from `open_staging`, which removes it however the upload ends."""

    def __init__(self, directory: Path) -> None:
        self.files_directory = directory / "files"
        self._archive = directory / "archive"
        self._names = NamesInUse()

    def beside(self, name: str) -> "Staging":
        """Room for files of the same upload that don't belong to the artifact."""
        return Staging(self.files_directory.with_name(name))

    async def receive(
        self,
        name: str,
        chunks: AsyncIterable[bytes],
        *,
        max_bytes: int,
        declared_bytes: int | None = None,
        expected_sha256: str | None = None,
    ) -> StagedFile:
        """Write one file as it comes in, off the event loop.

        Raises:
            UnsafeFileName, FileNameTaken: its name can't be kept beside the others.
            UploadTooLarge: it has more than `max_bytes`.
            UploadLengthMismatch: it is shorter or longer than declared.
            UploadDigestMismatch: its SHA-256 is not the expected one.
            StorageFull: the disk is full.
        """
        path = self._claim(name)
        require_space(path.parent, declared_bytes or 0)
        with full_disk_refused(), path.open("wb") as file:
            body = _Body(file)
            async for block in _in_blocks(chunks):
                await run_to_end(body.write, block)
                _refuse_excess(name, body.size, max_bytes, declared_bytes)
        staged = StagedFile(name, path, body.size, body.sha256)
        _refuse_difference(staged, declared_bytes, expected_sha256)
        return staged

    async def unpack(self, staged: StagedFile, limits: ArchiveLimits) -> list[StagedFile]:
        """Replace an archive by the files in it; a skops model and any other file stay as they are.

        Raises:
            UnsafeArchive: it is broken, too large when unpacked, or holds more than plain files and directories.
            UnsafeFileName, FileNameTaken: a name in it can't be kept.
            StorageFull: the disk is full.
        """
        return await run_to_end(self._unpack, staged, limits) if is_archive(staged.name) else [staged]

    def _unpack(self, staged: StagedFile, limits: ArchiveLimits) -> list[StagedFile]:
        if is_skops(staged.path):
            return [staged]
        archive = staged.path.rename(self._archive)
        with full_disk_refused(), unsafe_archive_refused(staged.name):
            files = [self._write(member) for member in read_archive(staged.name, archive, limits)]
        archive.unlink()
        if not files:
            raise UnsafeArchive(staged.name, "it holds no file")
        return files

    def _write(self, member: Member) -> StagedFile:
        path = self._claim(member.name)
        with path.open("wb") as file:
            body = _Body(file)
            for block in member.blocks:
                body.write(block)
        return StagedFile(member.name, path, body.size, body.sha256)

    def _claim(self, name: str) -> Path:
        self._names.claim(name)
        path = self.files_directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


@asynccontextmanager
async def open_staging(base_path: Path) -> AsyncIterator[Staging]:
    """A new staging directory under the service's base path, removed at the end of the block.

    It is locked for as long, so that `sweep_staging` tells it from what a killed process left behind.
    """
    with full_disk_refused():
        directory, lock = _make_directory(_staging_root(base_path))
    with lock:
        staging = Staging(directory)
        try:
            with full_disk_refused():
                staging.files_directory.mkdir()
            yield staging
        finally:
            await run_to_end(_remove, directory)


def sweep_staging(base_path: Path) -> int:
    """Remove what uploads left behind whose process is gone, such as those cut off by a kill; gives their count."""
    root = _staging_root(base_path)
    found = [each for each in root.iterdir() if _is_ours(each)] if root.is_dir() else []
    return sum(_remove_abandoned(directory) for directory in found)


def _staging_root(base_path: Path) -> Path:
    return base_path / "staging"


def _make_directory(root: Path) -> tuple[Path, BinaryIO]:
    """A directory nobody else has, and the open file whose lock says so; a sweep may take one before it is locked."""
    while True:
        directory = root / str(new_id())
        directory.mkdir(mode=0o700, parents=True)
        lock = _try_lock(directory)
        if lock is not None:
            return directory, lock


def _try_lock(directory: Path) -> BinaryIO | None:
    """The open file that owns a directory (flock(2): the lock ends with its process); None if another has it."""
    try:
        lock = (directory / "lock").open("wb")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_there = os.fstat(lock.fileno()).st_nlink > 0
        except BlockingIOError:
            is_there = False
    except FileNotFoundError:
        return None
    if is_there:
        return lock
    lock.close()
    return None


def _remove(directory: Path) -> None:
    """Remove a directory, perhaps together with others who do; what can't be removed now is left to the next sweep."""
    shutil.rmtree(directory, ignore_errors=True)


def _is_ours(directory: Path) -> bool:
    try:
        UUID(directory.name)
    except ValueError:
        return False
    return directory.is_dir()


def _remove_abandoned(directory: Path) -> bool:
    lock = _try_lock(directory)
    if lock is None:
        return False
    with lock:
        _remove(directory)
    return True


class _Body:
    """A file being written, with its size and digest so far."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self.size = 0

    def write(self, block: bytes) -> None:
        self._file.write(block)
        self._digest.update(block)
        self.size += len(block)

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


def _refuse_excess(name: str, size: int, max_bytes: int, declared_bytes: int | None) -> None:
    if size > max_bytes:
        raise UploadTooLarge(name, max_bytes)
    if declared_bytes is not None and size > declared_bytes:
        raise UploadLengthMismatch(name, declared_bytes, size)


def _refuse_difference(staged: StagedFile, declared_bytes: int | None, expected_sha256: str | None) -> None:
    if declared_bytes is not None and declared_bytes != staged.size:
        raise UploadLengthMismatch(staged.name, declared_bytes, staged.size)
    if expected_sha256 is not None and expected_sha256.lower() != staged.sha256:
        raise UploadDigestMismatch(staged.name, expected_sha256, staged.sha256)


async def _in_blocks(chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in fewer pieces, so that a gigabyte costs a thousand hops to a thread and not sixteen thousand."""
    block = bytearray()
    async for chunk in chunks:
        block += chunk
        if len(block) >= BLOCK_BYTES:
            yield bytes(block)
            block.clear()
    if block:
        yield bytes(block)
