"""Identifiers that sort by the time they were made (UUID version 7, RFC 9562, section 5.7).

The twelve bits after the millisecond hold its fraction (section 6.2, method 3), so that what one process makes one
after the other sorts that way. They are the database driver's own kind of UUID: equal to any other, made and written
out many times as fast.
"""

import os
import time
from datetime import UTC, datetime
from uuid import UUID

import numpy as np
from asyncpg.pgproto import pgproto

_DRAWN = 512  # pieces of randomness at once: asking the kernel for it takes as long as the rest
_noise: list[bytes] = []
os.register_at_fork(after_in_child=_noise.clear)  # two processes never use the same piece


def new_id() -> UUID:
    """One fresh identifier."""
    if not _noise:
        _draw(1)
    identifier: UUID = pgproto.UUID(_stamp() + _noise.pop())
    return identifier


def new_ids(count: int) -> list[UUID]:
    """Fresh identifiers of this moment."""
    if len(_noise) < count:
        _draw(count)
    start = len(_noise) - count
    taken = _noise[start:]
    del _noise[start:]
    stamp = _stamp()
    return [pgproto.UUID(stamp + noise) for noise in taken]


def _draw(count: int) -> None:
    """Make `count` second halves and some more: the variant, and 62 bits of randomness."""
    drawn = np.frombuffer(bytearray(os.urandom(8 * (_DRAWN + count))), np.uint8).reshape(-1, 8)
    drawn[:, 0] = drawn[:, 0] & 0x3F | 0x80
    raw = drawn.tobytes()
    _noise.extend([raw[start : start + 8] for start in range(0, len(raw), 8)])


def _stamp() -> bytes:
    """The first half: the millisecond, the version, the millisecond's fraction."""
    milliseconds, nanoseconds = divmod(time.time_ns(), 1_000_000)
    return (milliseconds << 16 | 0x7000 | (nanoseconds << 12) // 1_000_000).to_bytes(8)


def time_of(identifier: UUID) -> datetime:
    """When an identifier was made, to the millisecond.

    >>> time_of(UUID("01890000-0000-7000-8000-000000000000")).isoformat()
    '2023-06-28T03:15:47.328000+00:00'
    """
    return datetime.fromtimestamp((identifier.int >> 80) / 1000, tz=UTC)


def is_time_ordered(identifier: UUID) -> bool:
    """Whether an identifier is a version 7 one, so that `time_of` means something."""
    return identifier.version == 7
