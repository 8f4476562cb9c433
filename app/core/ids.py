"""Identifiers that sort by the time they were made (UUID version 7, RFC 9562, section 5.7)."""

import os
import time
from datetime import UTC, datetime
from uuid import UUID

import numpy as np
from asyncpg.pgproto import pgproto

_MANY = 8  # from here on it pays to make them as one array


def new_id() -> UUID:
    """One fresh identifier.

    It is the database driver's own kind of UUID: equal to any other, made and written out many times as fast.
    """
    noise = os.urandom(10)
    stamp = time.time_ns() // 1_000_000
    head, tail = stamp << 16 | 0x7000 | (noise[0] & 0xF) << 8 | noise[1], 0x80 | noise[2] & 0x3F
    identifier: UUID = pgproto.UUID(b"%b%c%b" % (head.to_bytes(8), tail, noise[3:]))
    return identifier


def new_ids(count: int) -> list[UUID]:
    """Fresh identifiers of this very moment."""
    if count < _MANY:
        return [new_id() for _ in range(count)]
    made = np.frombuffer(bytearray(os.urandom(16 * count)), np.uint8).reshape(count, 16)
    made[:, :6] = np.frombuffer((time.time_ns() // 1_000_000).to_bytes(6), np.uint8)
    made[:, 6] = made[:, 6] & 0x0F | 0x70
    made[:, 8] = made[:, 8] & 0x3F | 0x80
    raw = made.tobytes()
    return [pgproto.UUID(raw[start : start + 16]) for start in range(0, len(raw), 16)]


def time_of(identifier: UUID) -> datetime:
    """When an identifier was made, to the millisecond.

    >>> time_of(UUID("01890000-0000-7000-8000-000000000000")).isoformat()
    '2023-06-28T03:15:47.328000+00:00'
    """
    return datetime.fromtimestamp((identifier.int >> 80) / 1000, tz=UTC)


def is_time_ordered(identifier: UUID) -> bool:
    """Whether an identifier is a version 7 one, so that `time_of` means something."""
    return identifier.version == 7
