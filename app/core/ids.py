"""Identifiers that sort by the time they were made (UUID version 7, RFC 9562, section 5.7)."""

import os
import time
from datetime import UTC, datetime
from uuid import UUID

from asyncpg.pgproto.pgproto import UUID as QuickUUID

_VERSION_AND_VARIANT = (0x7 << 76) | (0b10 << 62)
_RANDOM_A = 0xFFF << 64
_RANDOM_B = (1 << 62) - 1


def new_id() -> UUID:
    """One fresh identifier."""
    return new_ids(1)[0]


def new_ids(count: int) -> list[UUID]:
    """`count` fresh identifiers of this millisecond, from one draw of randomness.

    They are the database driver's own kind of UUID: equal to any other, made and written out many times as fast.
    """
    stamp = (time.time_ns() // 1_000_000) << 80 | _VERSION_AND_VARIANT
    noise = os.urandom(10 * count)
    return [_stamped(stamp, int.from_bytes(noise[i : i + 10])) for i in range(0, 10 * count, 10)]


def _stamped(stamp: int, bits: int) -> UUID:
    value = stamp | (bits & _RANDOM_B) | ((bits >> 2) & _RANDOM_A)
    identifier: UUID = QuickUUID(value.to_bytes(16))
    return identifier


def time_of(identifier: UUID) -> datetime:
    """When an identifier was made, to the millisecond.

    >>> time_of(UUID("01890000-0000-7000-8000-000000000000")).isoformat()
    '2023-06-28T03:15:47.328000+00:00'
    """
    return datetime.fromtimestamp((identifier.int >> 80) / 1000, tz=UTC)


def is_time_ordered(identifier: UUID) -> bool:
    """Whether an identifier is a version 7 one, so that `time_of` means something."""
    return identifier.version == 7
