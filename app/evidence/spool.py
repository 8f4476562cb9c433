"""The spool: where a process writes what it answers before it answers, without asking the database.

`append` returns once the bytes are with the kernel, which survives any end of the process; a write of a thousand
bytes costs 2 µs, less than it would cost to wake somebody who waits for a common one. `append_synced` returns once
they are on the disk, and shares the disk's wait with everybody else who waits.
"""

import asyncio
import fcntl
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from app.core.ids import new_id
from app.evidence.errors import SpoolFull, SpoolUnwritable
from app.evidence.segments import HEAD, SUFFIX, enframe, marker_of

SEGMENT_BYTES = 16 * 1024 * 1024
UNNAMED = ".new"
_RECOUNT_SECONDS = 0.1


@dataclass(slots=True)
class _OpenSegment:
    """The segment that is being written; its lock tells readers so."""

    path: Path
    descriptor: int
    marker: bytes
    size: int = 0
    synced: int = 0
    failure: OSError | None = None
    is_retired: bool = False
    waiting: int = 0
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    @classmethod
    def begin(cls, directory: Path) -> Self:
        """A new file, which takes its final name only once it is locked."""
        segment_id = new_id()
        path = directory / f"{segment_id}{SUFFIX}"
        unnamed = path.with_suffix(UNNAMED)
        descriptor = os.open(unnamed, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            unnamed.rename(path)
        except OSError:
            os.close(descriptor)
            raise
        return cls(path, descriptor, marker_of(segment_id))

    def write(self, content: bytes) -> None:
        """All of it, or an error and as much as nothing: a half-written end is cut off again."""
        written = 0
        try:
            while written < len(content):
                written += os.write(self.descriptor, content[written:] if written else content)
        except OSError:
            os.ftruncate(self.descriptor, self.size)
            raise
        self.size += written

    async def sync(self, reach: int) -> None:
        """Bring everything up to `reach` to the disk; whoever comes while it runs shares the next one."""
        self.waiting += 1
        try:
            async with self.turn:
                if self.synced < reach:
                    await self._sync_now()
        finally:
            self.waiting -= 1
            self._close_when_idle()

    async def _sync_now(self) -> None:
        if self.failure is not None:  # the kernel tells of a lost page once; asked again, it says all is well
            raise self.failure
        size, is_first = self.size, not self.synced
        try:
            await asyncio.to_thread(_sync, os.dup(self.descriptor), self.path.parent if is_first else None)
        except OSError as error:
            self.failure = error
            raise
        self.synced = size

    def retire(self) -> None:
        """Write no more to it: what readers have seen of a segment must never change."""
        self.is_retired = True
        self._close_when_idle()

    def _close_when_idle(self) -> None:
        if self.is_retired and not self.waiting:
            os.close(self.descriptor)


def _sync(descriptor: int, directory: Path | None) -> None:
    """Bring a file's data to the disk, and before it the directory that names it."""
    try:
        if directory is not None:
            _sync_directory(directory)
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _size_of(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size
    except FileNotFoundError:  # shipped and deleted meanwhile
        return 0


class Spool:
    """What this process has yet to hand to the database; one directory, one writer at a time."""

    def __init__(self, directory: Path, *, max_bytes: int, segment_bytes: int = SEGMENT_BYTES) -> None:
        self.directory = directory
        self._max_bytes = max_bytes
        self._segment_bytes = segment_bytes
        self._segment: _OpenSegment | None = None
        directory.mkdir(parents=True, exist_ok=True)
        for leftover in directory.glob(f"*{UNNAMED}"):
            leftover.unlink()
        self._recount()

    def append(self, *payloads: bytes) -> None:
        """Write frames, so that they outlive this process.

        Raises:
            SpoolFull: the spool holds as much as it may; nothing was written.
            SpoolUnwritable: the disk is full or broken; nothing was written.
        """
        self._write(payloads)

    async def append_synced(self, *payloads: bytes) -> None:
        """Write frames, so that they outlive a loss of power.

        Raises:
            SpoolFull, SpoolUnwritable: as `append`.
        """
        segment = self._write(payloads)
        try:
            await segment.sync(segment.size)
        except OSError as error:
            self._retire()
            raise SpoolUnwritable(error.strerror or str(error)) from error

    def close(self) -> None:
        """Let go of the segment; the shipper sees that nothing more will come."""
        self._retire()

    def _write(self, payloads: tuple[bytes, ...]) -> _OpenSegment:
        size = sum(map(len, payloads)) + HEAD.size * len(payloads)
        try:
            self._require_room(size)
            segment = self._segment_with_room(size)
            segment.write(b"".join([enframe(segment.marker, payload) for payload in payloads]))
        except OSError as error:
            self._retire()
            raise SpoolUnwritable(error.strerror or str(error)) from error
        self._used_bytes += size
        return segment

    def _require_room(self, size: int) -> None:
        if self._used_bytes + size > self._max_bytes and time.monotonic() > self._recount_at:
            self._recount()
        if self._used_bytes + size > self._max_bytes:
            raise SpoolFull(self._max_bytes)

    def _recount(self) -> None:
        """What the shipper has deleted is only seen by looking."""
        with os.scandir(self.directory) as entries:
            self._used_bytes = sum(map(_size_of, entries))
        self._recount_at = time.monotonic() + _RECOUNT_SECONDS

    def _segment_with_room(self, size: int) -> _OpenSegment:
        if self._segment and self._segment.size and self._segment.size + size > self._segment_bytes:
            self._retire()
        if self._segment is None:
            self._segment = _OpenSegment.begin(self.directory)
        return self._segment

    def _retire(self) -> None:
        if self._segment is not None:
            self._segment.retire()
            self._segment = None
