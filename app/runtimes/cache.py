"""Loaded models, as many as the memory budget holds: each loaded once, warmed before it is ready, the pinned kept."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from uuid import UUID

from pydantic_core import to_json

from app.core.errors import Refusal
from app.runtimes.batcher import Batcher
from app.runtimes.errors import ModelNotReady, OutOfModelMemory
from app.runtimes.isolation import MODEL_ERRORS
from app.runtimes.pace import Pace, measure_pace, unknown_pace
from app.runtimes.rows import Rows
from app.runtimes.schema import Signature
from app.runtimes.scores import Model
from app.runtimes.typed import TypedReader, find_reader

LOADS_AT_ONCE = 2
RETRY_SECONDS = 30.0


class Phase(StrEnum):
    """How far a version is on its way to taking traffic."""

    LOADING = "loading"
    WARMING = "warming"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class LoadedVersion:
    """What a loader hands over: a model, what it takes, what it occupies, and rows to warm it with."""

    version_id: UUID
    model_name: str
    number: int
    model: Model
    signature: Signature
    memory_bytes: int
    sample: Rows | None = None


@dataclass(frozen=True, eq=False)
class ReadyVersion:
    """A version that takes traffic."""

    version_id: UUID
    model_name: str
    number: int
    signature: Signature
    batcher: Batcher
    pace: Pace
    reader: TypedReader | None = None

    @cached_property
    def model_id(self) -> str:
        """The canonical reference to this version."""
        return f"{self.model_name}:{self.number}"

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """The classes as keys of a JSON object: text as it is, anything else as its JSON."""
        classes = self.signature.classes or ()
        return tuple(name if isinstance(name, str) else to_json(name).decode() for name in classes)


@dataclass(frozen=True)
class VersionState:
    """What readiness reports of one version."""

    phase: Phase
    reason: str
    memory_bytes: int
    is_pinned: bool


@dataclass(eq=False)
class _Entry:
    opening: asyncio.Task[None] | None = None
    phase: Phase = Phase.LOADING
    reason: str = ""
    memory_bytes: int = 0
    ready: ReadyVersion | None = None
    touched_at: float = field(default_factory=time.monotonic)

    def fail(self, reason: str) -> None:
        self.phase, self.reason, self.memory_bytes = Phase.FAILED, reason, 0
        self.touched_at = time.monotonic()

    @property
    def is_due(self) -> bool:
        """Whether a version that could not be loaded may be tried again."""
        return self.phase == Phase.FAILED and time.monotonic() - self.touched_at >= RETRY_SECONDS


class ModelCache:
    """The versions in this process's memory.

    Routes pin the versions that they name; what nobody pins goes, the longest unused first, when room is needed.
    """

    def __init__(
        self, load: Callable[[UUID], Awaitable[LoadedVersion]], *, budget_bytes: int, queue_rows: int
    ) -> None:
        self._load = load
        self._budget_bytes = budget_bytes
        self._queue_rows = queue_rows
        self._entries: dict[UUID, _Entry] = {}
        self._pins: Counter[UUID] = Counter()
        self._turn = asyncio.Semaphore(LOADS_AT_ONCE)

    def find_ready(self, version_id: UUID) -> ReadyVersion | None:
        """The version if it takes traffic now."""
        entry = self._entries.get(version_id)
        if entry is None or entry.ready is None:
            return None
        entry.touched_at = time.monotonic()
        return entry.ready

    async def get_ready(self, version_id: UUID) -> ReadyVersion:
        """The version, loaded and warmed first if need be; who comes meanwhile waits for the same load.

        Raises:
            ModelNotReady: it could not be loaded, and the reason; it is tried again after a while.
        """
        entry = self._open(version_id)
        if entry.opening is not None:
            await asyncio.shield(entry.opening)
        if (ready := self.find_ready(version_id)) is None:
            raise ModelNotReady(str(version_id), entry.phase, entry.reason)
        return ready

    def pin(self, version_id: UUID) -> None:
        """Load a version and keep it until every pin is taken back."""
        self._pins[version_id] += 1
        self._open(version_id)

    def unpin(self, version_id: UUID) -> None:
        """Take one pin back."""
        self._pins[version_id] -= 1
        self._pins += Counter()  # forgets those at zero

    def retry(self, version_id: UUID) -> None:
        """Load a version that failed again at once: something was done about the reason."""
        if (entry := self._entries.get(version_id)) and entry.phase == Phase.FAILED:
            del self._entries[version_id]
            self._open(version_id)

    def states(self) -> dict[UUID, VersionState]:
        """Every version that is here or was asked for."""
        return {
            version_id: VersionState(entry.phase, entry.reason, entry.memory_bytes, version_id in self._pins)
            for version_id, entry in self._entries.items()
        }

    def queued_rows(self) -> dict[str, int]:
        """How many rows wait for each version that takes traffic."""
        ready = [entry.ready for entry in self._entries.values() if entry.ready is not None]
        return {version.model_id: version.batcher.queued_rows for version in ready}

    def missing(self) -> dict[UUID, VersionState]:
        """The pinned versions that don't take traffic yet, and why."""
        return {
            version_id: state
            for version_id, state in self.states().items()
            if state.is_pinned and state.phase != Phase.READY
        }

    async def close(self) -> None:
        """Give up whatever is still being loaded."""
        opening = [entry.opening for entry in self._entries.values() if entry.opening]
        for task in opening:
            task.cancel()
        await asyncio.gather(*opening, return_exceptions=True)

    def _open(self, version_id: UUID) -> _Entry:
        entry = self._entries.get(version_id)
        if entry is None or entry.is_due:
            entry = self._entries[version_id] = _Entry()
            entry.opening = asyncio.create_task(self._bring_up(version_id, entry))
        return entry

    async def _bring_up(self, version_id: UUID, entry: _Entry) -> None:
        try:
            async with self._turn:
                loaded = await self._load(version_id)
                self._make_room(version_id, loaded.memory_bytes)
                entry.memory_bytes = loaded.memory_bytes
                entry.phase = Phase.WARMING
                pace = await _warm(loaded)
        except Refusal as refusal:
            self._give_up(version_id, entry, str(refusal))
        except MODEL_ERRORS as error:  # readiness tells it, and the other versions go on
            self._give_up(version_id, entry, f"{type(error).__name__}: {error}")
        else:
            entry.ready = self._ready(loaded, pace)
            entry.phase = Phase.READY
        entry.opening = None

    def _ready(self, loaded: LoadedVersion, pace: Pace) -> ReadyVersion:
        batcher = Batcher(loaded.model, pace, queue_rows=self._queue_rows)
        return ReadyVersion(
            loaded.version_id,
            loaded.model_name,
            loaded.number,
            loaded.signature,
            batcher,
            pace,
            find_reader(loaded.signature),
        )

    def _give_up(self, version_id: UUID, entry: _Entry, reason: str) -> None:
        entry.fail(reason)
        if version_id in self._pins:
            asyncio.get_running_loop().call_later(RETRY_SECONDS, self._reopen_pinned, version_id)

    def _reopen_pinned(self, version_id: UUID) -> None:
        if version_id in self._pins:
            self.retry(version_id)

    def _make_room(self, version_id: UUID, needed_bytes: int) -> None:
        """Evict what was not used for longest until `needed_bytes` are free.

        Raises:
            OutOfModelMemory: not even evicting everything that may go would be enough.
        """
        kept = sum(e.memory_bytes for v, e in self._entries.items() if not self._may_go(v, e))
        if kept + needed_bytes > self._budget_bytes:
            raise OutOfModelMemory(str(version_id), needed_bytes, self._budget_bytes, kept)
        held = sum(entry.memory_bytes for entry in self._entries.values())
        for victim in self._evictable():
            if held + needed_bytes <= self._budget_bytes:
                return
            held -= self._entries.pop(victim).memory_bytes

    def _evictable(self) -> list[UUID]:
        """The versions that may go, the longest unused first."""
        idle = [version_id for version_id, entry in self._entries.items() if self._may_go(version_id, entry)]
        return sorted(idle, key=lambda version_id: self._entries[version_id].touched_at)

    def _may_go(self, version_id: UUID, entry: _Entry) -> bool:
        return entry.phase == Phase.READY and version_id not in self._pins


async def _warm(loaded: LoadedVersion) -> Pace:
    """Score the stored sample until the model's pace is known, so that no caller meets a cold model."""
    if loaded.sample is None or not loaded.sample.good:
        return unknown_pace()
    return await asyncio.to_thread(measure_pace, loaded.model, loaded.sample)
