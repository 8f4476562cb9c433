"""How fast predict is, beside a bare application under the same server, and beside the work itself in a loop.

python -m tests.bench.predict [seconds]
"""

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import httpx
from sqlalchemy import text

from app.core.database import Database
from app.core.processes import listening
from tests.bench.alone import rows_per_second_alone
from tests.bench.figures import Figure
from tests.bench.load import Load, post
from tests.bench.models import COLUMNS, sample, sample_csv, write_models
from tests.bench.running import (
    SERVICE_CORE,
    Running,
    cpu_seconds,
    database_of,
    ended,
    environment_of,
    press_from_other_core,
    running_service,
    start,
)

ROUNDS = 3  # bare and service by turns, so that whatever else the machine does meets both
BARE_SHARE = 0.25  # of the service's time: the bare application has no log that could fall behind
BEHIND_SECONDS = 5  # how far the log may be behind when the load ends
SHARES = {"logistic-onnx": 50, "boosting-onnx": 50, "logistic-sklearn": 30, "boosting-sklearn": 30}
"""What one row a request should reach, in percent of the bare application."""
LARGE = {"logistic-onnx": "the work", "boosting-sklearn": "the work", "forest-sklearn": "scoring"}
"""What 1,000 rows a request are compared with."""
ONE = json.dumps({"instances": [dict(zip(COLUMNS, sample(1)[0].tolist(), strict=True))]}).encode()
THOUSAND = json.dumps({"instances": sample(1000).tolist()}).encode()


@dataclass(frozen=True)
class Rounds:
    """What the rounds of one server came to: the medians."""

    per_second: float
    p50_ms: float
    p99_ms: float
    processor_us: float

    @classmethod
    def of(cls, rounds: list[tuple[Load, float]]) -> "Rounds":
        return cls(
            median(load.per_second for load, _ in rounds),
            median(load.p50_ms for load, _ in rounds),
            median(load.p99_ms for load, _ in rounds),
            median(spent / load.requests * 1e6 for load, spent in rounds),
        )

    def __str__(self) -> str:
        return (
            f"{self.per_second:7,.0f}/s   p50 {self.p50_ms:5.2f} ms   p99 {self.p99_ms:5.2f} ms"
            f"   processor {self.processor_us:4.0f} µs"
        )


async def main() -> None:
    figures = await measure(float(sys.argv[1]) if len(sys.argv) > 1 else 60.0)
    print(*figures, sep="\n")


async def measure(seconds: float) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="switchyard-bench-") as name:
        models = write_models(Path(name) / "models", {*SHARES, *LARGE})
        async with running_service(Path(name) / "service") as running:
            async with httpx.AsyncClient(base_url=running.address, timeout=60) as client:
                for model, directory in models.items():
                    await bring_to_production(client, model, directory)
                answers = {model: (await ask(client, model)).content for model in SHARES}
            figures = [await compare_with_bare(running, model, answers[model], seconds) for model in SHARES]
            figures += [
                await compare_with_work_alone(running, each, models[each], seconds / 6) for each in LARGE
            ]
            return [figure for pair in figures for figure in pair]


async def compare_with_bare(
    running: Running, model: str, answer: bytes, seconds: float
) -> tuple[Figure, ...]:
    """One row a request: the share of the bare application's requests/s, its 99th percentile, and the log's delay."""
    request = post(f"/api/models/{model}/predict", ONE)
    bare_rounds, our_rounds, delays = [], [], []
    async with database_of(running) as database:
        with bare_server(running, answer) as bare:
            for _ in range(ROUNDS):
                bare_rounds.append(await measured(bare, request, BARE_SHARE * seconds / ROUNDS))
                logged = await count_logged(database)
                our_rounds.append(await measured(running, request, seconds / ROUNDS))
                delays.append(await seconds_until_logged(database, logged + our_rounds[-1][0].requests))
    least, ours = Rounds.of(bare_rounds), Rounds.of(our_rounds)
    print(f"{model:18} {ours}   log {max(delays):.1f} s behind\n{'bare':18} {least}", flush=True)
    share, tail = 100 * ours.per_second / least.per_second, ours.p99_ms / least.p99_ms
    return (
        Figure(f"{model}, one row: requests/s of a bare application's", share, SHARES[model], "%"),
        Figure(f"{model}, one row: p99 beside a bare application's", tail, 3, "times", at_most=True),
        Figure(f"{model}, one row: the log behind the load", max(delays), BEHIND_SECONDS, "s", at_most=True),
    )


async def count_logged(database: Database) -> int:
    """How many rows the log has taken in."""
    async with database.reads() as session:
        return int(await session.scalar(text("SELECT coalesce(sum(rows), 0) FROM spool_position")) or 0)


async def seconds_until_logged(database: Database, rows: int) -> float:
    """How long the log needs to catch up after the load has ended."""
    began = time.perf_counter()
    while await count_logged(database) < rows:  # noqa: ASYNC110 - another process ships
        await asyncio.sleep(0.05)
    return time.perf_counter() - began


async def compare_with_work_alone(
    running: Running, model: str, directory: Path, seconds: float
) -> tuple[Figure, ...]:
    """1,000 rows a request: the share of the rows/s of parse, score and encode, or of scoring, in a loop."""
    load, _ = await measured(running, post(f"/api/models/{model}/predict", THOUSAND), seconds, connections=4)
    whole, scoring = rows_per_second_alone(directory, THOUSAND, seconds=seconds / 2, core=SERVICE_CORE)
    ours = 1000 * load.per_second
    print(f"{model:18} {ours:,.0f} rows/s; parse + score + encode {whole:,.0f}, scoring {scoring:,.0f}")
    alone, named = LARGE[model], {"the work": whole, "scoring": scoring}
    return (Figure(f"{model}, 1,000 rows: rows/s of {alone} alone", 100 * ours / named[alone], 70, "%"),)


async def measured(
    server: Running, request: bytes, seconds: float, connections: int = 16
) -> tuple[Load, float]:
    """A run of load, and the processor time that the server spent on it."""
    before = cpu_seconds(server.http_pids)
    load = await press_from_other_core(server, request, seconds=seconds, connections=connections)
    assert not load.refused, load
    return load, cpu_seconds(server.http_pids) - before


@contextmanager
def bare_server(running: Running, answer: bytes) -> Iterator[Running]:
    """The bare application on the service's core."""
    with ExitStack() as stack:
        file = running.base_path / "answer.json"
        file.write_bytes(answer)
        listener = stack.enter_context(listening("127.0.0.1", 0))
        module = ["tests.bench.bare", f"--fd={listener.fileno()}", f"--answer={file}"]
        environment = environment_of(running.base_path, running.database_url)
        process = start(module, environment, None, SERVICE_CORE, (listener.fileno(),))
        stack.enter_context(ended(process))
        port = listener.getsockname()[1]
        httpx.post(f"http://127.0.0.1:{port}/", content=ONE, timeout=30).raise_for_status()
        yield replace(running, port=port, http_pids=(process.pid,))


async def bring_to_production(client: httpx.AsyncClient, model: str, directory: Path) -> None:
    (artifact,) = directory.iterdir()
    files = {
        "artifact": (artifact.name, artifact.read_bytes()),
        "reference": ("reference.csv", sample_csv()),
    }
    answer = await client.post("/api/models", data={"metadata": json.dumps({"name": model})}, files=files)
    answer.raise_for_status()
    reference = answer.json()["model_id"]
    for verb in ("validate", "promote"):
        answer = await client.post(f"/api/models/{reference}/{verb}", json={"reason": "benchmark"})
        answer.raise_for_status()


async def ask(client: httpx.AsyncClient, model: str) -> httpx.Response:
    answer = await client.post(f"/api/models/{model}/predict", content=ONE)
    return answer.raise_for_status()


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    asyncio.run(main())
