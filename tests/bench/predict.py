"""How fast predict is, beside a bare application under the same server, and beside the work itself in a loop.

python -m tests.bench.predict [seconds]
"""

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import httpx

from app.core.processes import listening
from tests.bench.alone import rows_per_second_alone
from tests.bench.load import Load, post
from tests.bench.models import COLUMNS, sample, sample_csv, write_models
from tests.bench.running import (
    SERVICE_CORE,
    Running,
    cpu_seconds,
    ended,
    environment_of,
    press_from_other_core,
    running_service,
    start,
)

ROUNDS = 5  # bare and service by turns, so that whatever else the machine does meets both
MODELS = ("logistic-onnx", "boosting-onnx", "logistic-sklearn", "boosting-sklearn")
LARGE = ("logistic-onnx", "boosting-sklearn", "forest-sklearn")
ONE = json.dumps({"instances": [dict(zip(COLUMNS, sample(1)[0].tolist(), strict=True))]}).encode()
THOUSAND = json.dumps({"instances": sample(1000).tolist()}).encode()


@dataclass(frozen=True)
class Figures:
    """What the rounds of one server came to."""

    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: float

    @classmethod
    def of(cls, rounds: list[tuple[Load, float]]) -> "Figures":
        return cls(
            median(load.per_second for load, _ in rounds),
            median(load.p50_ms for load, _ in rounds),
            median(load.p99_ms for load, _ in rounds),
            median(cpu / load.requests * 1e6 for load, cpu in rounds),
        )


async def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    with tempfile.TemporaryDirectory(prefix="switchyard-bench-") as name:
        models = write_models(Path(name) / "models", {*MODELS, *LARGE})
        async with running_service(Path(name) / "service") as running:
            async with httpx.AsyncClient(base_url=running.address, timeout=60) as client:
                for model, directory in models.items():
                    await bring_to_production(client, model, directory)
                answers = {model: (await ask(client, model)).content for model in MODELS}
            for model in MODELS:
                await compare_with_bare(running, model, answers[model], seconds)
            for model in LARGE:
                await compare_with_work_alone(running, model, models[model], seconds)


async def compare_with_bare(running: Running, model: str, answer: bytes, seconds: float) -> None:
    request = post(f"/api/models/{model}/predict", ONE)
    with bare_server(running, answer) as bare:
        by_turns = [
            [await measured(server, request, seconds / ROUNDS) for server in (bare, running)]
            for _ in range(ROUNDS)
        ]
    least, ours = (Figures.of(list(rounds)) for rounds in zip(*by_turns, strict=True))
    print(
        f"{model:18} {ours.per_second:7,.0f}/s of {least.per_second:7,.0f}/s = {ours.per_second / least.per_second:4.0%}"
        f"   p50 {ours.p50_ms:5.2f} ms   p99 {ours.p99_ms:5.2f} ms = {ours.p99_ms / least.p99_ms:3.1f} x bare"
        f"   processor {ours.cpu_us:4.0f} us of {least.cpu_us:3.0f} us"
    )


async def compare_with_work_alone(running: Running, model: str, directory: Path, seconds: float) -> None:
    load, _ = await measured(running, post(f"/api/models/{model}/predict", THOUSAND), seconds, connections=4)
    whole, scoring = rows_per_second_alone(directory, THOUSAND, seconds=seconds / 2, core=SERVICE_CORE)
    ours = 1000 * load.per_second
    print(
        f"{model:18} {ours:9,.0f} rows/s = {ours / whole:4.0%} of parse + score + encode alone,"
        f" {ours / scoring:4.0%} of scoring alone"
    )


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
