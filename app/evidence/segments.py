"""The files of a spool: how frames lie in them, and how they are read while they grow and after a crash.

A segment is named by a version 7 UUID and owned by the process that holds its lock; once nobody holds it, it never
changes again. Each frame is a marker, the length of its payload, the payload's CRC-32, and the payload. The marker
is taken from the random part of the segment's name, so that no caller can smuggle one in with the data.
"""

import fcntl
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Self
from uuid import UUID

from app.core.processes import give_way

SUFFIX = ".frames"
FRAMES_PER_TURN = 100
"""How many frames are looked at before others have their turn."""
HEAD = struct.Struct("<8sII")


def marker_of(segment_id: UUID) -> bytes:
    """What every frame of a segment begins with."""
    return segment_id.bytes[8:]


def enframe(marker: bytes, payload: bytes) -> bytes:
    """A payload as it lies in a segment."""
    return HEAD.pack(marker, len(payload), zlib.crc32(payload)) + payload


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes of a segment that hold no whole frame: torn off by a crash, or changed since they were written."""

    start: int
    content: bytes
    is_tail: bool


class Piece(NamedTuple):
    """One frame's payload, and where it lies."""

    start: int
    end: int
    payload: bytes


@dataclass(slots=True)
class Stretch:
    """What reading on from `start` found, up to `end`; what lies beyond may still be growing."""

    start: int
    end: int
    pieces: list[Piece] = field(default_factory=list)
    damages: list[Damage] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Segment:
    """An open segment, as its reader sees it.

    `is_closed` means that its writer is gone or has moved on, so that what is incomplete stays so.
    """

    path: Path
    descriptor: int
    is_closed: bool
    size: int

    @property
    def id(self) -> UUID:
        """The segment's name."""
        return UUID(self.path.stem)

    @classmethod
    @contextmanager
    def opened(cls, path: Path) -> Iterator[Self]:
        """A segment to read; the state of its writer is looked at before its size, never after."""
        descriptor = os.open(path, os.O_RDONLY)
        try:
            is_closed = _try_lock(descriptor)
            yield cls(path, descriptor, is_closed, os.fstat(descriptor).st_size)
        finally:
            os.close(descriptor)

    def read(self, offset: int, *, max_bytes: int, max_frames: int) -> Stretch:
        """The frames from `offset` on; a single frame larger than `max_bytes` is read whole."""
        while True:
            buffer = os.pread(self.descriptor, max_bytes, offset)
            reaches_end = offset + len(buffer) >= self.size
            stretch = _scan(buffer, marker_of(self.id), offset, max_frames=max_frames)
            if stretch.end > offset or reaches_end:
                break
            max_bytes *= 2
        if self.is_closed and reaches_end and len(stretch.pieces) < max_frames:
            _give_up_tail(stretch, buffer[stretch.end - offset :])
        return stretch


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _scan(buffer: bytes, marker: bytes, offset: int, *, max_frames: int) -> Stretch:
    stretch = Stretch(offset, offset)
    position = 0
    while len(stretch.pieces) < max_frames:
        if len(stretch.pieces) % FRAMES_PER_TURN == 0:
            give_way()
        payload = _payload_at(buffer, position, marker)
        if payload is not None:
            end = position + HEAD.size + len(payload)
            stretch.pieces.append(Piece(offset + position, offset + end, payload))
        else:
            end = buffer.find(marker, position + 1)
            if end < 0:
                break
            stretch.damages.append(Damage(offset + position, buffer[position:end], is_tail=False))
        stretch.end = offset + end
        position = end
    return stretch


def _payload_at(buffer: bytes, position: int, marker: bytes) -> bytes | None:
    if len(buffer) - position < HEAD.size:
        return None
    found, length, checksum = HEAD.unpack_from(buffer, position)
    start = position + HEAD.size
    payload = buffer[start : start + length]
    whole = found == marker and len(payload) == length and zlib.crc32(payload) == checksum
    return payload if whole else None


def _give_up_tail(stretch: Stretch, rest: bytes) -> None:
    """Nothing will complete the end of a closed segment any more."""
    if rest:
        stretch.damages.append(Damage(stretch.end, rest, is_tail=True))
        stretch.end += len(rest)
