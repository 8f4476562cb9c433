"""Where the microseconds of a prediction go: everything but the sockets in this process, and each stage left out once.

python -m tests.bench.stages [model] [connections]

Sixteen connections without a network bring the same request in turns. What a turn costs without one of its stages tells
what the stage costs, in the company of the others and with their heat; the sum of all stages is less than the whole.
"""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import UUID

import uvicorn
import uvloop
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from app.connection import EdgeProtocol, EdgeState
from app.core import telemetry
from app.core.access import Caller, Role
from app.core.config import Settings
from app.evidence.spool import Spool
from app.runtimes.batcher import Batcher
from app.runtimes.cache import LoadedVersion, ModelCache
from app.runtimes.formats import detect_format
from app.runtimes.loading import load_model
from app.runtimes.rows import parse_rows
from app.runtimes.typed import TypedReader
from app.serving import express, journal
from app.serving.express import Express
from app.serving.journal import Journal
from app.serving.lines import DirectRoute, Line
from app.serving.predictor import Predictor
from app.serving.readers import Readers
from app.serving.shadows import Shadows
from tests.bench.alone import SIGNATURE
from tests.bench.bare import bare_app
from tests.bench.load import post
from tests.bench.models import sample, write_models
from tests.bench.predict import ONE

VERSION = UUID(int=1)
TURNS, REPEATS = 60, 12
GIB = 1 << 30
DATE = [(b"date", b"Mon, 01 Jan 2024 00:00:00 GMT")]


class Wire(asyncio.Transport):
    """A connection to nobody."""

    def write(self, data: bytes) -> None:
        del data

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name in {"peername", "sockname"} else default

    def is_closing(self) -> bool:
        return False

    def resume_reading(self) -> None:
        pass


class OneLine:
    """Every reference leads to the one version."""

    line = Line(DirectRoute(VERSION))

    def find(self, reference: str, environment: str) -> Line:
        del reference, environment
        return self.line


class LocalAdmin:
    """Everybody is the local admin."""

    caller = Caller("local", Role.ADMIN)

    def known(self, authorization: bytes | None) -> Caller:
        del authorization
        return self.caller


def connections(
    count: int, protocol: type, app: Any, state: ServerState, shared: dict[str, Any]
) -> list[Any]:
    state.default_headers = DATE
    config = uvicorn.Config(app, http=protocol, lifespan="off", ws="none", interface="asgi3", log_config=None)
    config.load()
    made = [protocol(config=config, server_state=state, app_state=shared) for _ in range(count)]
    for each in made:
        each.connection_made(Wire())
    return made


async def microseconds(protocols: list[Any], request: bytes) -> float:
    """The processor time of a request, the least of several runs."""
    return min([await run(protocols, request) for _ in range(REPEATS)])


async def run(protocols: list[Any], request: bytes) -> float:
    began = time.process_time()
    for _ in range(TURNS):
        for protocol in protocols:
            protocol.data_received(request)
        while not all(protocol.cycle.response_complete for protocol in protocols):  # noqa: ASYNC110 - turn by turn
            await asyncio.sleep(0)
    return (time.process_time() - began) / TURNS / len(protocols) * 1e6


def remembering(call: Callable[..., Any], key: Callable[..., Any]) -> Callable[..., Any]:
    """The same call that works once for each key."""
    known: dict[Any, Any] = {}

    def recall(*arguments: Any, **options: Any) -> Any:
        if (at := key(*arguments)) not in known:
            known[at] = call(*arguments, **options)
        return known[at]

    return recall


STAGES = {
    "typed reading of the body": (TypedReader, "read", remembering(TypedReader.read, lambda *_: 0)),
    "rows to a matrix": (
        TypedReader,
        "to_rows",
        remembering(TypedReader.to_rows, lambda _, table: len(table)),
    ),
    "scored": (Batcher, "score_at_once", remembering(Batcher.score_at_once, lambda _, batches: len(batches))),
    "prediction ids": (journal, "new_ids", remembering(journal.new_ids, lambda count: count)),
    "frame for the log": (Journal, "_frame", lambda *_: b"f" * 700),
    "written to the spool": (Spool, "append", lambda *_: None),
    "counted": (journal, "count_answers", lambda _: None),
    "encoded": (express, "encode_small", lambda _: b"e" * 250),
    "request line and its metrics": (telemetry._Ended, "add", lambda *_: None),
    "request id": (telemetry, "new_id", remembering(telemetry.new_id, lambda: 0)),
}
"""What stands in for each stage while it is left out. These are for measuring alone: no test runs on them."""


@contextmanager
def quiet_standard_error() -> Iterator[None]:
    """Request lines are made and written, but not shown."""
    with Path(os.devnull).open("w") as nowhere, patch.object(sys, "stderr", nowhere):
        yield


async def measure(kind: str, count: int) -> None:
    with tempfile.TemporaryDirectory(prefix="switchyard-bench-") as name:
        model = load_model(
            detect_format(write_models(Path(name) / "models", {kind})[kind]),
            SIGNATURE,
            labels_from_probabilities=True,
        )
        shared = {"express": await open_express(Path(name), model)}
        request = post(f"/api/models/{kind}/predict", ONE)
        ours = connections(count, EdgeProtocol, None, EdgeState(), shared)
        bare = connections(count, HttpToolsProtocol, bare_app(b"a" * 250), ServerState(), {})
        with quiet_standard_error():
            least, whole = await microseconds(bare, request), await microseconds(ours, request)
            stages = {stage: await cost_of(stage, ours, request) for stage in STAGES}
            await asyncio.sleep(0)  # the last lines
    print(f"bare application {least:5.1f} µs\nexpress way      {whole:5.1f} µs, of which")
    for stage, cost in stages.items():
        print(f"  {stage:30} {cost:5.1f}")


async def cost_of(stage: str, protocols: list[Any], request: bytes) -> float:
    """What is saved without a stage; with and without it by turns, so that whatever else the machine does meets both."""
    whole, rest = [], []
    for _ in range(REPEATS):
        whole.append(await run(protocols, request))
        with patch.object(*STAGES[stage]):
            rest.append(await run(protocols, request))
    return min(whole) - min(rest)


async def open_express(base_path: Path, model: Any) -> Express:
    async def load(version_id: UUID) -> LoadedVersion:
        rows = parse_rows({"instances": sample(20).tolist()}, SIGNATURE, max_rows=99)
        return LoadedVersion(
            version_id=version_id, model_name="bench", number=1, model=model, signature=SIGNATURE,
            memory_bytes=1, sample=rows,
        )  # fmt: skip

    settings = Settings(base_path=base_path)
    cache = ModelCache(load, budget_bytes=GIB, queue_rows=10_000)
    await cache.get_ready(VERSION)
    written = Journal(Spool(base_path / "spool", max_bytes=8 * GIB))
    predictor = Predictor(
        lines=OneLine(), cache=cache, journal=written, readers=Readers(), settings=settings,
        shadows=Shadows(cache, written, queue_rows=100, deadline_seconds=5),
    )  # fmt: skip
    return Express(predictor, LocalAdmin(), settings)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    given = sys.argv[1:]
    uvloop.run(measure(given[0] if given else "logistic-onnx", int(given[1]) if len(given) > 1 else 16))
