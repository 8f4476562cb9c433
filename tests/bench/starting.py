"""How long the service takes to start, and what an idle HTTP process occupies.

python -m tests.bench.starting
"""

import asyncio
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

from app.core.embedded import embedded_postgres
from tests.bench.figures import Figure
from tests.bench.running import KEPT

MIB = 1 << 20
STARTS = 2
START_SECONDS = 60


async def measure() -> list[Figure]:
    """The quickest of a few starts with and without a database there, and the memory of the HTTP process."""
    fresh, present, idle = [], [], []
    for _ in range(STARTS):
        with tempfile.TemporaryDirectory(prefix="switchyard-bench-") as name:
            fresh.append(start_once(Path(name), None)[0])
    with tempfile.TemporaryDirectory(prefix="switchyard-bench-") as name:
        async with embedded_postgres(Path(name) / "database") as postgres:
            for number in range(STARTS + 1):  # the first one migrates
                seconds, memory = await asyncio.to_thread(start_once, Path(name) / str(number), postgres.url)
                present.append(seconds)
                idle.append(memory)
    return [
        Figure("start to ready, database there", min(present[1:]), 3, "s", at_most=True),
        Figure("start to ready, new embedded database", min(fresh), 6, "s", at_most=True),
        Figure("idle memory of an HTTP process", max(idle) / MIB, 250, "MB", at_most=True),
    ]


def start_once(base_path: Path, database_url: str | None) -> tuple[float, int]:
    """The seconds until a service was ready, and the resident bytes of its HTTP process then."""
    began = time.perf_counter()
    with serving(base_path, database_url) as (process, log):
        address = wait_for_address(process, log)
        wait_until_ready(address)
        return time.perf_counter() - began, http_memory(process.pid)


@contextmanager
def serving(base_path: Path, database_url: str | None) -> Iterator[tuple[subprocess.Popen, Path]]:
    """`switchyard serve` on every core, ended by its id."""
    base_path.mkdir(exist_ok=True)
    log = base_path / "log"
    command = [sys.executable, "-m", "app.cli", "serve", "--port", "0"]
    environment = KEPT | {"MLOPS_BASE_PATH": str(base_path), "ML_DATABASE_URL": database_url or ""}
    every_core = set(range(os.cpu_count() or 1))
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env=environment,
            stdout=output,
            stderr=output,
            preexec_fn=lambda: os.sched_setaffinity(0, every_core),  # noqa: PLW1509 - it only pins
        )
        try:
            yield process, log
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def wait_for_address(process: subprocess.Popen, log: Path) -> str:
    deadline = time.perf_counter() + START_SECONDS
    while process.poll() is None and time.perf_counter() < deadline:
        if found := re.search(r"answers at (\S+)", log.read_text()):
            return found[1]
        time.sleep(0.005)
    raise RuntimeError(log.read_text()[-3000:])


def wait_until_ready(address: str) -> None:
    while httpx.get(f"{address}/readyz").status_code != 200:
        time.sleep(0.005)


def http_memory(supervisor: int) -> int:
    family = psutil.Process(supervisor).children(recursive=True)
    return max(each.memory_info().rss for each in family if "app.server" in each.cmdline())


if __name__ == "__main__":
    for figure in asyncio.run(measure()):
        print(figure)
