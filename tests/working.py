"""The process beside the HTTP ones, inside the test's own."""

import asyncio
from contextlib import asynccontextmanager, suppress

from app.worker import run_worker


@asynccontextmanager
async def working(settings):
    """Facts are sealed, predictions shipped and jobs done for as long as the block lasts."""
    work = asyncio.create_task(run_worker(settings))
    try:
        yield
    finally:
        work.cancel()
        with suppress(asyncio.CancelledError):
            await work
