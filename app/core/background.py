"""Work that a part of this process has done beside everything else, for as long as the part is there."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

log = structlog.get_logger()


class Background:
    """One such work: started once, ended before its part goes, and never broken off in silence."""

    def __init__(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        self._name = name
        self._work = work
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run(), name=self._name)

    async def stop(self) -> None:
        """Cancel it, and return when it has put its things in order; there is nothing to do where it never began."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait(
                [self._task]
            )  # unlike `await`, it tells a cancellation of the caller from the task's

    async def _run(self) -> None:
        try:
            await self._work()
        except Exception:
            log.exception("background_work_broke_off", work=self._name)
