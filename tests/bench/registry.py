"""How fast the registry is read and added to.

python -m tests.bench.registry
"""

import asyncio
import itertools
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from app.core.database import Actor
from tests import make
from tests.bench.figures import Figure
from tests.bench.models import sample
from tests.bench.running import (
    Connection,
    Running,
    cpu_seconds,
    database_of,
    get,
    press_from_other_core,
    running_service,
)

MODELS, VERSIONS, CLIENTS = 100, 3, 4
READS = {
    "model": "/api/models/model-050",
    "version, whole": "/api/models/model-050:2",
    "page of 10": "/api/models?limit=10",
}
BOUNDARY = "switchyard-bench"


async def measure(*, seconds: float = 8) -> list[Figure]:
    """Reads per second of the service's core, and registrations per second of new and of known bytes."""
    with tempfile.TemporaryDirectory(prefix="switchyard-bench-") as name:
        async with running_service(Path(name)) as running:
            await fill(running)
            reads = [
                Figure(
                    f"registry reads, {label}", await reads_per_core(running, path, seconds), 1500, "/s core"
                )
                for label, path in READS.items()
            ]
            models = small_models()
            new = await registrations_per_second(running, lambda: next(models), seconds)
            known = small_model(0)
            again = await registrations_per_second(running, lambda: known, seconds)
    return [
        *reads,
        Figure("registrations of a small new artifact", new, 20, "/s"),
        Figure("registrations of known bytes", again, 100, "/s"),
    ]


async def fill(running: Running) -> None:
    async with database_of(running) as database:
        for number in range(MODELS):
            async with database.writes(Actor("bench", "admin")) as session:
                for _ in range(VERSIONS):
                    await make.version(session, f"model-{number:03}")


async def reads_per_core(running: Running, path: str, seconds: float) -> float:
    """Answers for each second of processor time, which other programs on the machine can't take away."""
    before = cpu_seconds(running.http_pids)
    load = await press_from_other_core(running, get(path), seconds=seconds)
    assert not load.refused, load
    return load.requests / (cpu_seconds(running.http_pids) - before)


async def registrations_per_second(
    running: Running, next_model: Callable[[], bytes], seconds: float
) -> float:
    """Several clients, each registering one version after another under a name of its own."""
    await register(running, "first", next_model, until=0)  # the first one waits for the libraries
    began = time.perf_counter()
    counts = await asyncio.gather(
        *(register(running, f"client-{n}", next_model, until=began + seconds) for n in range(CLIENTS))
    )
    return sum(counts) / (time.perf_counter() - began)


async def register(running: Running, name: str, next_model: Callable[[], bytes], *, until: float) -> int:
    async with Connection(running.port) as connection:
        for count in itertools.count(1):
            await connection.ask_for(registration(name, next_model()))
            if time.perf_counter() > until:
                return count
    raise AssertionError("an endless loop ended")


def registration(name: str, model: bytes) -> bytes:
    """The bytes of a registration without a sample: a multipart form."""
    parts = [(b'name="metadata"', json.dumps({"name": name}).encode())]
    parts.append((b'name="artifact"; filename="model.skops"', model))
    mark = f"--{BOUNDARY}".encode()
    form = b"".join(
        mark + b"\r\nContent-Disposition: form-data; " + head + b"\r\n\r\n" + body + b"\r\n"
        for head, body in parts
    )
    form += mark + b"--\r\n"
    head = f"POST /api/models HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(form)}\r\n"
    return f"{head}Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n".encode() + form


def small_models() -> Iterator[bytes]:
    """Small models, no two of the same bytes."""
    return map(small_model, itertools.count(1))


def small_model(seed: int) -> bytes:
    import skops.io
    from sklearn.linear_model import LogisticRegression

    rows = sample(40, seed)
    return skops.io.dumps(LogisticRegression().fit(rows, rows[:, 0] > 0))


if __name__ == "__main__":
    for figure in asyncio.run(measure()):
        print(figure)
