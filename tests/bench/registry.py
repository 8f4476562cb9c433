"""How fast the registry is read: one model, one version whole, a page of the list.

python -m tests.bench.registry
"""

import asyncio
import sys
import tempfile
from pathlib import Path

from app.core.database import Actor
from tests import make
from tests.bench.running import Running, cpu_seconds, database_of, get, press_from_other_core, running_service

MODELS, VERSIONS = 100, 3
PATHS = {"model": "/api/models/model-050", "version": "/api/models/model-050:2", "page": "/api/models?limit=10"}


async def main() -> None:
    with tempfile.TemporaryDirectory(prefix="switchyard-bench-") as name:
        async with running_service(Path(name)) as running:
            await fill(running)
            for label, path in PATHS.items():
                before = cpu_seconds(running.http_pids)
                load = await press_from_other_core(running, get(path), seconds=float(sys.argv[1]))
                used = cpu_seconds(running.http_pids) - before
                print(label, load, f"{used / load.requests * 1e6:.0f} us cpu")


async def fill(running: Running) -> None:
    async with database_of(running) as database:
        for number in range(MODELS):
            async with database.writes(Actor("bench", "admin")) as session:
                for _ in range(VERSIONS):
                    await make.version(session, f"model-{number:03}")


if __name__ == "__main__":
    asyncio.run(main())
