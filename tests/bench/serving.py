"""The two servers that the predict benchmark compares, each pinned to one core: the bare one and the real path."""

import argparse
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import uvicorn
from pydantic_core import from_json
from starlette.applications import Starlette
from starlette.datastructures import Headers

from app.core.access import Caller, Role
from app.core.config import Settings
from app.core.telemetry import RequestLog, configure_logging
from app.evidence.spool import Spool
from app.runtimes.cache import LoadedVersion, ModelCache
from app.runtimes.formats import detect_format
from app.runtimes.loading import load_model
from app.runtimes.rows import parse_rows
from app.runtimes.schema import Column, ColumnType, Signature, Task
from app.serving.api import PredictApp
from app.serving.journal import Journal
from app.serving.lines import DirectRoute, Line
from app.serving.predictor import Predictor
from app.serving.readers import Readers
from app.serving.shadows import Shadows
from tests.bench.models import COLUMNS, sample

VERSION = UUID(int=1)
SIGNATURE = Signature(
    tuple(Column(name, ColumnType.FLOAT) for name in COLUMNS),
    Task.CLASSIFICATION,
    ColumnType.INTEGER,
    (0, 1),
)


class OneLine:
    """Every reference leads to the one model."""

    async def resolve(self, reference: str, environment: str) -> Line:
        return Line(DirectRoute(VERSION))


class OneKey:
    """One key, known at once."""

    CALLER = Caller("bench", Role.CALLER)

    def known(self, authorization: bytes | None) -> Caller | None:
        return self.CALLER if authorization == b"Bearer bench" else None

    async def __call__(self, headers: Headers) -> Caller:
        return self.CALLER


def loader(directory: Path) -> Callable[[UUID], Awaitable[LoadedVersion]]:
    async def load(version_id: UUID) -> LoadedVersion:
        model = load_model(detect_format(directory), SIGNATURE, labels_from_probabilities=True)
        rows = parse_rows({"instances": sample(100).tolist()}, SIGNATURE, max_rows=1000)
        return LoadedVersion(
            version_id=version_id,
            model_name="bench",
            number=1,
            model=model,
            signature=SIGNATURE,
            memory_bytes=1,
            sample=rows,
        )

    return load


def predict_app(model: Path, spool: Path) -> Any:
    """The predict path as the service wires it, with one model and no database."""
    settings = Settings()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        cache = ModelCache(loader(model), budget_bytes=2**30, queue_rows=settings.predict_queue_rows)
        journal, readers = Journal(Spool(spool, max_bytes=2**34)), Readers()
        shadows = Shadows(cache, journal, queue_rows=1000, deadline_seconds=1)
        app.state.authenticate = OneKey()
        app.state.predictor = Predictor(
            lines=OneLine(), cache=cache, journal=journal, shadows=shadows, readers=readers, settings=settings
        )
        await cache.get_ready(VERSION)
        yield
        await readers.close()

    app = Starlette(lifespan=lifespan)
    app.add_middleware(PredictApp, state=app.state)
    app.add_middleware(RequestLog)
    return app


def bare_app(answer: bytes) -> Any:
    """The least that an application can do with the same body: parse it, and answer the same bytes."""
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        message = await receive()
        body = message["body"]
        while message["more_body"]:
            message = await receive()
            body += message["body"]
        from_json(body, allow_inf_nan=False)
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    return app


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--core", type=int, default=0)
    parser.add_argument("--model", type=Path, help="the directory of the model to serve")
    parser.add_argument("--spool", type=Path, help="where to record what is answered")
    parser.add_argument("--answer", type=Path, help="serve the bare application with these bytes")
    given = parser.parse_args()
    os.sched_setaffinity(0, {given.core})
    configure_logging("info")
    app = bare_app(given.answer.read_bytes()) if given.answer else predict_app(given.model, given.spool)
    lifespan = "off" if given.answer else "on"
    uvicorn.run(
        app, port=given.port, loop="uvloop", http="httptools", log_level="warning", access_log=False, lifespan=lifespan
    )


if __name__ == "__main__":
    main()
