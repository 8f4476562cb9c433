"""Background work begins and ends with its part, and is never broken off in silence."""

import asyncio

import pytest
import structlog
from structlog.testing import capture_logs

from app.core import background as background_module
from app.core.background import Background


async def test_it_has_put_its_things_in_order_when_stop_returns():
    began, in_order = asyncio.Event(), asyncio.Event()

    async def work():
        try:
            began.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            in_order.set()

    background = Background("upkeep", work)
    background.start()
    await began.wait()
    await background.stop()
    assert in_order.is_set()


async def test_what_breaks_it_off_is_logged_at_once_and_stop_returns_all_the_same(monkeypatch):
    monkeypatch.setattr(
        background_module, "log", structlog.get_logger()
    )  # none that was used before is heard
    broken = asyncio.Event()

    async def work():
        broken.set()
        raise ZeroDivisionError

    background = Background("upkeep", work)
    with capture_logs() as logs:
        background.start()
        await broken.wait()
        await background.stop()
    [told] = logs
    assert (told["event"], told["work"], told["exc_info"]) == ("background_work_broke_off", "upkeep", True)


async def test_what_never_began_is_stopped_without_a_word():
    calls = []

    async def work():
        calls.append(1)

    background = Background("upkeep", work)
    await background.stop()
    background.start()
    await background.stop()  # before it had its first turn
    assert calls == []


async def test_a_caller_that_is_cancelled_while_it_waits_is_cancelled():
    began, may_end = asyncio.Event(), asyncio.Event()

    async def work():
        try:
            began.set()
            await asyncio.Event().wait()
        finally:
            await may_end.wait()

    background = Background("upkeep", work)
    background.start()
    await began.wait()
    caller = asyncio.ensure_future(background.stop())
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    may_end.set()
    await background.stop()
