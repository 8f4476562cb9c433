"""How traffic is split: weights, buckets, and who owns which bucket. Pure.

A caller's key falls into one of 10,000 buckets, each owned by one arm. A new split moves as few buckets as it
can: an arm that grows keeps what it has, so whoever was in the 5 % is in the 25 % and in the 50 %.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from itertools import groupby, product
from uuid import UUID

BUCKETS = 10_000
MOST_ARMS = 100
TOLERANCE = 1e-9
NOBODY = -1

Run = tuple[int, int]
"""An arm's index (or `NOBODY`) and how many buckets in a row it owns."""
Owners = tuple[Run, ...]
UNOWNED: Owners = ((NOBODY, BUCKETS),)


@dataclass(frozen=True, slots=True)
class Arm:
    """A version that answers a share of a route's traffic."""

    name: str
    version_id: UUID
    weight: float


@dataclass(frozen=True, slots=True)
class Shadow:
    """A version that scores a share of a route's requests without answering them."""

    version_id: UUID
    share: float = 1.0


class Layer(StrEnum):
    """What a bucket decides; each layer is salted on its own, so that they don't depend on each other."""

    VARIANT = "variant"
    ENROLMENT = "enrolment"
    LAYER = "layer"


def layer_salt(salt: bytes, layer: Layer) -> bytes:
    """The salt of one layer of a route.

    >>> layer_salt(b"route", Layer.VARIANT) == layer_salt(b"route", Layer.ENROLMENT)
    False
    """
    return sha256(salt + layer.encode()).digest()


def bucket_of(key: bytes, salt: bytes) -> int:
    """The bucket of a caller's key: the same on every replica, for as long as the salt stays.

    >>> bucket_of(b"user-1", b"salt"), bucket_of(b"user-2", b"salt"), bucket_of(b"user-1", b"pepper")
    (9911, 1297, 1795)
    """
    return int.from_bytes(sha256(salt + key).digest()[:8]) % BUCKETS


def check_arms(arms: Sequence[Arm]) -> None:
    """Make sure that arms split traffic completely and without ambiguity.

    Raises:
        ValueError: naming the arm, or the sum, that is wrong.
    """
    if not 0 < len(arms) <= MOST_ARMS:
        raise ValueError(f"a split has between 1 and {MOST_ARMS} arms, not {len(arms)}")
    seen: set[str] = set()
    for arm in arms:
        if arm.name in seen:
            raise ValueError(f"arm {arm.name!r} is named twice")
        seen.add(arm.name)
        _check_weight(arm)
    total = math.fsum(arm.weight for arm in arms)
    if abs(total - 1) > TOLERANCE:
        raise ValueError(f"the weights add up to {total:.12g}, not to 1")


def _check_weight(arm: Arm) -> None:
    if not math.isfinite(arm.weight) or not 0 <= arm.weight <= 1:
        raise ValueError(f"arm {arm.name!r} has the weight {arm.weight}; it must be between 0 and 1")
    if 0 < arm.weight < 1 / BUCKETS:
        raise ValueError(f"arm {arm.name!r} has the weight {arm.weight}; the smallest share is {1 / BUCKETS}")


def check_shadows(shadows: Sequence[Shadow]) -> None:
    """Make sure that shadows score a share of the requests, each version once.

    Raises:
        ValueError: saying which is wrong.
    """
    if len({shadow.version_id for shadow in shadows}) < len(shadows):
        raise ValueError("a version shadows twice")
    for shadow in shadows:
        if not 0 < shadow.share <= 1:
            raise ValueError(f"a shadow has the share {shadow.share}; it must be above 0 and at most 1")


def apportion(weights: Sequence[float]) -> list[int]:
    """How many buckets each weight is due, by largest remainder (Hamilton's method).

    >>> apportion([0.95, 0.05]), apportion([1 / 3, 1 / 3, 1 / 3])
    ([9500, 500], [3334, 3333, 3333])
    """
    exact = [round(weight * BUCKETS, 6) for weight in weights]
    counts = [int(due) for due in exact]
    by_remainder = sorted(range(len(weights)), key=lambda arm: counts[arm] - exact[arm])
    for arm in by_remainder[: BUCKETS - sum(counts)]:
        counts[arm] += 1
    return counts


def rebalance(owners: Owners, weights: Sequence[float]) -> Owners:
    """Who owns which bucket under new weights, with the fewest buckets changing hands.

    Arms give up their highest buckets first; what they give up goes, from the lowest bucket on, to those that grow.

    >>> rebalance(UNOWNED, [0.95, 0.05])
    ((0, 9500), (1, 500))
    >>> rebalance(((0, 9500), (1, 500)), [0.75, 0.25])
    ((0, 7500), (1, 2500))

    Raises:
        ValueError: the runs are not exactly the buckets.
    """
    if sum(length for _, length in owners) != BUCKETS:
        raise ValueError(f"the runs must be {BUCKETS} buckets long")
    targets = apportion(weights)
    surplus = [has - due for has, due in zip(count_owned(owners, len(weights)), targets, strict=True)]
    return _merge(_fill(_release(owners, surplus), surplus))


def count_owned(owners: Owners, arms: int) -> list[int]:
    """How many buckets each arm owns.

    >>> count_owned(((0, 4000), (1, 5000), (0, 1000)), 3)
    [5000, 5000, 0]
    """
    return [sum(length for owner, length in owners if owner == arm) for arm in range(arms)]


def _release(owners: Owners, surplus: Sequence[int]) -> list[Run]:
    left = list(surplus)
    runs: list[Run] = []
    for arm, length in reversed(owners):
        given = length if arm == NOBODY else min(length, max(0, left[arm]))
        if arm != NOBODY:
            left[arm] -= given
        runs += [(NOBODY, given), (arm, length - given)]
    return runs[::-1]


def _fill(runs: Iterable[Run], surplus: Sequence[int]) -> Iterator[Run]:
    lacking = [[arm, -more] for arm, more in enumerate(surplus) if more < 0][::-1]
    for arm, length in runs:
        free = length if arm == NOBODY else 0
        if not free:
            yield arm, length
        while free:
            taken = min(free, lacking[-1][1])
            yield lacking[-1][0], taken
            free -= taken
            lacking[-1][1] -= taken
            if not lacking[-1][1]:
                lacking.pop()


def _merge(runs: Iterable[Run]) -> Owners:
    filled = (run for run in runs if run[1])
    return tuple(
        (arm, sum(length for _, length in same)) for arm, same in groupby(filled, lambda run: run[0])
    )


def carry_over(owners: Owners, before: Sequence[Arm], after: Sequence[Arm]) -> Owners:
    """The owners of a split's buckets, told in the arms of the next split; whose arm is gone, nobody owns.

    An arm goes on as the one that has its version and name, else its version, else its name.
    """
    heirs = _heirs(before, after)
    return _merge((heirs.get(arm, NOBODY), length) for arm, length in owners)


def _heirs(before: Sequence[Arm], after: Sequence[Arm]) -> dict[int, int]:
    found: dict[int, int] = {}
    for alike in _LIKENESSES:
        for old, new in product(range(len(before)), range(len(after))):
            if old not in found and new not in found.values() and alike(before[old], after[new]):
                found[old] = new
    return found


_LIKENESSES: tuple[Callable[[Arm, Arm], bool], ...] = (
    lambda old, new: (old.version_id, old.name) == (new.version_id, new.name),
    lambda old, new: old.version_id == new.version_id,
    lambda old, new: old.name == new.name,
)


def owner_table(owners: Owners) -> bytes:
    """The index of each bucket's arm, one byte each: built once per revision, read by every request.

    >>> table = owner_table(((0, 9500), (1, 500)))
    >>> len(table), table[9499], table[9500]
    (10000, 0, 1)
    """
    return b"".join(bytes([arm]) * length for arm, length in owners)
