"""Whether `/livez` answers at once whatever else the process does.

python -m tests.bench.liveness
"""

import asyncio
import json
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import httpx
import numpy as np

from tests.bench.figures import Figure
from tests.bench.load import post
from tests.bench.models import FEATURES, sample, sample_csv, train, write_skops
from tests.bench.running import Connection, Running, get, running_service

PAUSE_SECONDS = 0.002
LARGE_BODY_BYTES = 30_000_000
PREDICT = "/api/models/forest/predict"
Work = Callable[[Running], Awaitable[None]]


async def measure(*, seconds: float = 8) -> list[Figure]:
    """The 99th percentile of `/livez`, in milliseconds, while each kind of work goes on for a while."""
    with tempfile.TemporaryDirectory(prefix="switchyard-bench-") as name:
        async with running_service(Path(name)) as running:
            await register_forest(running)
            kinds = {
                "a 30 MB body arrives": predicting(large_body()),
                "a model loads": loading(write_forest(running.base_path)),
                "100,000 rows are scored": predicting(many_rows()),
            }
            return [
                Figure(
                    f"/livez p99 while {kind}", await p99_ms(running, work, seconds), 100, "ms", at_most=True
                )
                for kind, work in kinds.items()
            ]


async def p99_ms(running: Running, work: Work, seconds: float) -> float:
    """`/livez` asked again and again beside work that is done again and again."""
    working = asyncio.create_task(keep_working(running, work, time.perf_counter() + seconds))
    latencies = []
    async with Connection(running.port) as connection:
        while not working.done():
            began = time.perf_counter()
            status, _ = await connection.ask(get("/livez"))
            assert status == 200
            latencies.append(time.perf_counter() - began)
            await asyncio.sleep(PAUSE_SECONDS)
    await working
    return float(np.percentile(latencies, 99)) * 1000


async def keep_working(running: Running, work: Work, until: float) -> None:
    await work(running)
    while time.perf_counter() < until:
        await work(running)


def predicting(request: bytes) -> Work:
    async def predict(running: Running) -> None:
        async with Connection(running.port) as connection:
            status, body = await connection.ask(request)
        assert status == 200, body[:500]

    return predict


def large_body() -> bytes:
    """A request of 30 MB: good rows, and blanks to fill it up."""
    row = json.dumps(sample(1)[0].tolist())
    rows = ", ".join([row] * 1000)
    return post(PREDICT, f'{{"instances": [{rows}]}}'.ljust(LARGE_BODY_BYTES).encode())


def many_rows() -> bytes:
    rows = np.random.default_rng(1).integers(0, 9, (100_000, FEATURES))
    return post(PREDICT, json.dumps({"instances": rows.tolist()}, separators=(",", ":")).encode())


def write_forest(base_path: Path) -> bytes:
    directory = base_path / "forest"
    directory.mkdir(exist_ok=True)
    write_skops(train("forest"), directory)
    return (directory / "model.skops").read_bytes()


async def register_forest(running: Running) -> None:
    async with httpx.AsyncClient(base_url=running.address, timeout=120) as client:
        await load_as(client, "forest", write_forest(running.base_path))


def loading(model: bytes) -> Work:
    """Register and promote a version, which every process loads."""
    versions = iter(range(10**6))

    async def load(running: Running) -> None:
        async with httpx.AsyncClient(base_url=running.address, timeout=120) as client:
            await load_as(client, f"loaded-{next(versions)}", model)

    return load


async def load_as(client: httpx.AsyncClient, name: str, model: bytes) -> None:
    files = {"artifact": ("model.skops", model), "reference": ("reference.csv", sample_csv())}
    answer = await client.post("/api/models", data={"metadata": json.dumps({"name": name})}, files=files)
    assert answer.status_code == 201, answer.text
    for verb in ("validate", "promote"):
        answer = await client.post(f"/api/models/{name}:1/{verb}", json={"reason": "benchmark"})
        assert answer.status_code in {200, 202}, answer.text
    with suppress(httpx.ReadTimeout):
        await wait_until_live(client, answer.json())


async def wait_until_live(client: httpx.AsyncClient, deployment: dict[str, str]) -> None:
    while deployment["phase"] == "preparing":
        await asyncio.sleep(0.05)
        deployment = (await client.get(f"/api/deployments/{deployment['id']}")).json()
    assert deployment["phase"] == "live", deployment


if __name__ == "__main__":
    for figure in asyncio.run(measure()):
        print(figure)
