"""A prober for the whole run: its libraries are imported once."""

from collections.abc import AsyncIterator

import pytest

from app.runtimes.probe import Prober

MEMORY_BYTES = 1024**3
SECONDS = 30.0


@pytest.fixture(scope="session")
async def prober() -> AsyncIterator[Prober]:
    async with Prober(seconds=SECONDS, memory_bytes=MEMORY_BYTES) as prober:
        yield prober
