"""D12, R13: several models in one process, each loaded once, warmed before it takes traffic, within a memory budget."""

import asyncio
import time
from collections import Counter
from uuid import UUID

import pytest

from app.runtimes.cache import LoadedVersion, ModelCache, Phase
from app.runtimes.errors import BrokenArtifact, ModelNotReady
from tests.runtimes.stand_in_models import ONE_NUMBER, Busy, Doubling, rows_of

A, B, C, D = (UUID(int=i) for i in range(4))


class Store:
    """Where models are loaded from: counts loads, and fails for versions that are named as broken."""

    def __init__(self) -> None:
        self.loads: Counter[UUID] = Counter()
        self.broken: dict[UUID, Exception] = {}
        self.sizes = {A: 40, B: 40, C: 40, D: 90}
        self.models: dict[UUID, Doubling] = {}

    async def load(self, version_id: UUID) -> LoadedVersion:
        self.loads[version_id] += 1
        await asyncio.sleep(0.01)
        if version_id in self.broken:
            raise self.broken[version_id]
        model = self.models.setdefault(version_id, Doubling())
        return LoadedVersion(
            version_id=version_id,
            model_name="doubling",
            number=version_id.int + 1,
            model=model,
            signature=ONE_NUMBER,
            memory_bytes=self.sizes[version_id],
            sample=rows_of(1, 2, 3),
        )


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
async def cache(store):
    cache = ModelCache(store.load, budget_bytes=100, queue_rows=100)
    yield cache
    await cache.close()


def phases(cache: ModelCache) -> dict[UUID, Phase]:
    return {version_id: state.phase for version_id, state in cache.states().items()}


async def test_a_version_is_loaded_once_however_many_ask(cache, store):
    asked = await asyncio.gather(*(cache.get_ready(A) for _ in range(20)))
    assert store.loads == {A: 1}
    assert all(ready is asked[0] for ready in asked)
    assert cache.find_ready(A) is asked[0]


async def test_a_ready_version_scores(cache):
    ready = await cache.get_ready(A)
    scored = await ready.batcher.score(rows_of(21), deadline=time.monotonic() + 1)
    assert scored.scores.prediction == [42]


async def test_a_version_is_warmed_before_it_is_ready(cache, store):
    store.models[A] = Busy(0.01)
    opening = asyncio.create_task(cache.get_ready(A))
    seen = set()
    while not opening.done():
        phase = phases(cache).get(A)
        seen.add(phase)
        assert (cache.find_ready(A) is not None) == (phase == Phase.READY)
        await asyncio.sleep(0.001)
    assert {Phase.LOADING, Phase.WARMING} <= seen
    assert store.models[A].calls
    assert phases(cache) == {A: Phase.READY}


async def test_who_stops_waiting_does_not_stop_the_load(cache, store):
    waiting = asyncio.create_task(cache.get_ready(A))
    await asyncio.sleep(0)
    waiting.cancel()
    await cache.get_ready(A)
    assert store.loads == {A: 1}


async def test_the_longest_unused_version_makes_room(cache):
    await cache.get_ready(A)
    await cache.get_ready(B)
    cache.find_ready(A)
    await cache.get_ready(C)
    assert phases(cache) == {A: Phase.READY, C: Phase.READY}


async def test_a_pinned_version_stays_whoever_needs_room(cache):
    cache.pin(A)
    for version_id in (A, B, C):
        await cache.get_ready(version_id)
    assert phases(cache) == {A: Phase.READY, C: Phase.READY}


async def test_a_version_that_finds_no_room_beside_the_pinned_says_so_and_evicts_nobody(cache):
    cache.pin(A)
    await cache.get_ready(A)
    await cache.get_ready(B)
    with pytest.raises(ModelNotReady, match="needs 90 bytes; versions that serve hold 40 of the 100"):
        await cache.get_ready(D)
    assert phases(cache) == {A: Phase.READY, B: Phase.READY, D: Phase.FAILED}


async def test_pins_are_counted(cache):
    cache.pin(A)
    cache.pin(A)
    cache.unpin(A)
    await cache.get_ready(A)
    assert cache.states()[A].is_pinned
    cache.unpin(A)
    assert not cache.states()[A].is_pinned


async def test_readiness_names_the_pinned_versions_that_are_missing_and_why(cache, store):
    store.broken[B] = BrokenArtifact("the hash does not match")
    for version_id in (A, B):
        cache.pin(version_id)
    assert set(cache.missing()) == {A, B}
    await cache.get_ready(A)
    with pytest.raises(ModelNotReady):
        await cache.get_ready(B)
    assert {version_id: state.reason for version_id, state in cache.missing().items()} == {
        B: "the hash does not match"
    }


async def test_a_failed_version_is_not_loaded_at_every_request_but_at_once_when_told(cache, store):
    store.broken[A] = OSError("the disk is gone")
    for _ in range(3):
        with pytest.raises(ModelNotReady, match="OSError: the disk is gone"):
            await cache.get_ready(A)
    assert store.loads == {A: 1}
    store.broken.clear()
    cache.retry(A)
    await cache.get_ready(A)
    assert store.loads == {A: 2}


async def test_a_failed_version_is_tried_again_after_a_while(cache, store, monkeypatch):
    monkeypatch.setattr("app.runtimes.cache.RETRY_SECONDS", 0.05)
    store.broken[A] = OSError("the disk is gone")
    cache.pin(A)
    with pytest.raises(ModelNotReady):
        await cache.get_ready(A)
    store.broken.clear()
    await asyncio.sleep(0.15)
    assert cache.find_ready(A)


async def test_a_model_that_fails_on_its_own_sample_takes_no_traffic(cache, store):
    class Refusing(Doubling):
        def score(self, rows):
            raise ValueError("shape mismatch")

    store.models[A] = Refusing()
    with pytest.raises(ModelNotReady, match="shape mismatch"):
        await cache.get_ready(A)
    assert cache.find_ready(A) is None
    assert cache.states()[A].memory_bytes == 0


async def test_closing_gives_up_what_is_still_being_loaded(cache):
    cache.pin(A)
    await cache.close()
    assert cache.find_ready(A) is None
