"""Promotes of versions already gated and warm over many models, and how long one takes to reach every process.

python -m tests.bench.promotes
"""

import asyncio
import itertools
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import httpx
import numpy as np
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import clock
from app.core.database import Actor
from app.registry.actions import Draft, register_version
from app.registry.files import StoredFile
from app.registry.lifecycle import move_stage
from app.registry.queries import files_of, get_version
from app.registry.rules import Stage
from app.registry.tables import GateReport, Version
from tests.bench.figures import Figure
from tests.bench.load import post
from tests.bench.models import sample, sample_csv, train, write_skops
from tests.bench.running import Connection, Running, database_of, get, running_service

MODELS, CLIENTS = 100, 8
BENCH = Actor("bench", "admin")
ROW = json.dumps({"instances": sample(1).tolist()}).encode()


async def measure(*, seconds: float = 15) -> list[Figure]:
    """The promotes per second of one process, and the time until four of them answer by a promote."""
    with tempfile.TemporaryDirectory(prefix="switchyard-bench-") as name:
        async with running_service(Path(name)) as running:
            await make_models(running, MODELS)
            rate = await promotes_per_second(running, seconds)
            sealed = await seconds_until_sealed(running)
    with tempfile.TemporaryDirectory(prefix="switchyard-bench-") as name:
        async with running_service(Path(name), processes=4) as running:
            await make_models(running, 1)
            reached = await seconds_to_reach_all(running, seconds)
    return [
        Figure("promotes of warm versions over 100 models", rate, 300, "/s"),
        Figure("audit sealed after the last of them", sealed, 5, "s", at_most=True),
        Figure("a promote reaches 4 processes, p99", float(np.percentile(reached, 99)), 1, "s", at_most=True),
    ]


async def make_models(running: Running, count: int) -> None:
    """Models with two versions each, both through the gate against the other, held warm by every process."""
    await register_template(running)
    async with database_of(running) as database, database.writes(BENCH) as session:
        template = await draft_like(session, await get_version(session, "template:1"))
        for number in range(count):
            await make_rivals(session, name_of(number), template)
    for version in (1, 2):
        await asyncio.gather(
            *(prepare(running, range(client, count, CLIENTS), version) for client in range(CLIENTS))
        )


async def prepare(running: Running, numbers: range, version: int) -> None:
    async with Connection(running.port) as connection:
        for number in numbers:
            await bring_to_production(connection, promote(number, version))


async def bring_to_production(connection: Connection, request: bytes) -> None:
    deployment = await connection.ask_for(request)
    while deployment["phase"] == "preparing":
        await asyncio.sleep(0.05)
        deployment = await connection.ask_for(get(deployment["links"]["self"]))
    assert deployment["phase"] == "live", deployment


def name_of(number: int) -> str:
    return f"model-{number:03}"


def promote(number: int, version: int) -> bytes:
    return post(f"/api/models/{name_of(number)}:{version}/promote", b"{}")


async def register_template(running: Running) -> None:
    directory = running.base_path / "template"
    directory.mkdir()
    write_skops(train("logistic"), directory)
    files = [
        ("artifact", ("model.skops", (directory / "model.skops").read_bytes())),
        ("reference", ("reference.csv", sample_csv())),
    ]
    async with httpx.AsyncClient(base_url=running.address, timeout=120) as client:
        answer = await client.post("/api/models", data={"metadata": '{"name": "template"}'}, files=files)
    assert answer.status_code == 201, answer.text


async def draft_like(session: AsyncSession, version: Version) -> Draft:
    """What registering a version's bytes again would register."""
    files = await files_of(session, version.id)
    stored = tuple(StoredFile(file.path, file.digest, file.size_bytes) for file in files)
    same = {
        field.name: getattr(version, field.name) for field in fields(Draft) if hasattr(version, field.name)
    }
    return Draft(**same | {"semantic": None, "files": stored, "rows": (), "parent_id": None})


async def make_rivals(session: AsyncSession, name: str, template: Draft) -> None:
    first, second = [await register_version(session, name, template) for _ in range(2)]
    for version, rival in ((first, None), (first, second), (second, first)):
        session.add(
            GateReport(
                version_id=version.id,
                goal=Stage.PRODUCTION,
                passed=True,
                champion_id=rival and rival.id,
                checks=[],
                at=clock.now(),
            )
        )
    for version in (first, second):
        await move_stage(session, version.id, Stage.STAGING, reason="benchmark")


async def promotes_per_second(running: Running, seconds: float) -> float:
    """Several clients, each alternating the versions of models of its own."""
    until = time.perf_counter() + seconds
    counts = await asyncio.gather(*(keep_promoting(running, client, until) for client in range(CLIENTS)))
    return sum(counts) / (time.perf_counter() - until + seconds)


async def keep_promoting(running: Running, client: int, until: float) -> int:
    count = 0
    async with Connection(running.port) as connection:
        for request in alternate(range(client, MODELS, CLIENTS)):
            await connection.ask_for(request)
            count += 1
            if time.perf_counter() > until:
                return count
    raise AssertionError("an endless loop ended")


def alternate(numbers: range) -> Iterator[bytes]:
    for version, number in itertools.cycle(itertools.product((1, 2), numbers)):
        yield promote(number, version)


async def seconds_until_sealed(running: Running) -> float:
    """How long the sealer works on what the promotes announced."""
    began = time.perf_counter()
    async with Connection(running.port) as connection:
        while (await connection.ask_for(get("/api/system/audit/verify")))["unsealed"]:  # noqa: ASYNC110 - another process seals
            await asyncio.sleep(0.1)
    return time.perf_counter() - began


async def seconds_to_reach_all(running: Running, seconds: float) -> list[float]:
    """For promotes one after another, how long after its answer the last process answers by it."""
    reached = []
    until = time.perf_counter() + seconds
    async with Connection(running.port) as changer:
        for version in itertools.cycle((1, 2)):
            revision = (await changer.ask_for(promote(0, version)))["revision"]
            began = time.perf_counter()
            await asyncio.gather(*(answered_by(port, revision) for port in running.ports))
            reached.append(time.perf_counter() - began)
            if time.perf_counter() > until:
                break
    return reached


async def answered_by(port: int, revision: int) -> None:
    request = post(f"/api/models/{name_of(0)}/predict", ROW)
    async with Connection(port) as connection:
        while (await connection.ask_for(request))["revision"] < revision:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.001)


if __name__ == "__main__":
    for figure in asyncio.run(measure()):
        print(figure)
