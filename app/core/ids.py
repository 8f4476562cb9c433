"""Identifiers that sort by the time they were made (UUID version 7, RFC 9562, section 5.7).

The twelve bits after the millisecond hold its fraction (section 6.2, method 3), so that what one process makes one
after the other sorts that way.
"""

import os
import time
from datetime import UTC, datetime
from uuid import UUID

_VERSION_AND_VARIANT = (0x7 << 76) | (0b10 << 62)
_NOISE = (1 << 62) - 1


def new_id() -> UUID:
    """One fresh identifier."""
    return new_ids(1)[0]


def new_ids(count: int) -> list[UUID]:
    """`count` fresh identifiers of this moment, from one draw of randomness."""
    milliseconds, nanoseconds = divmod(time.time_ns(), 1_000_000)
    stamp = milliseconds << 80 | (nanoseconds << 12) // 1_000_000 << 64 | _VERSION_AND_VARIANT
    noise = os.urandom(8 * count)
    return [UUID(int=stamp | int.from_bytes(noise[8 * i : 8 * i + 8]) & _NOISE) for i in range(count)]


def time_of(identifier: UUID) -> datetime:
    """When an identifier was made, to the millisecond.

    >>> time_of(UUID("01890000-0000-7000-8000-000000000000")).isoformat()
    '2023-06-28T03:15:47.328000+00:00'
    """
    return datetime.fromtimestamp((identifier.int >> 80) / 1000, tz=UTC)


def is_time_ordered(identifier: UUID) -> bool:
    """Whether an identifier is a version 7 one, so that `time_of` means something."""
    return identifier.version == 7
