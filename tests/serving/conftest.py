"""The predict path with everything real but the database and the models: those are small enough to foresee."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from app.core.problems import answer_errors_with_problems  # noqa: F401 - every kind of problem is known
from app.server import EdgeServer
from app.serving.api import PredictApp
from app.serving.express import Express
from tests.faults.harness import served
from tests.serving.stand_in_serving import House


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    house = House(tmp_path / "spool")
    yield house
    await house.close()


def door_of(house: House) -> PredictApp:
    """The ASGI application that answers predictions of a house."""
    service = Starlette()
    service.state.predictor, service.state.authenticate = house.predictor, house.keys
    return PredictApp(service, state=service.state, settings=house.settings)


@pytest.fixture
async def running(house: House) -> AsyncIterator[EdgeServer]:
    """A server of predictions with both ways, on a port of its own; `server.port` tells which."""
    async with serving(house) as server:
        yield server


@asynccontextmanager
async def serving(house: House) -> AsyncIterator[EdgeServer]:
    door = door_of(house)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await door(scope, receive, send)
            return
        scope["state"]["express"] = Express(house.predictor, house.keys, house.settings)
        for stage in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{stage}.complete"})

    async with served(app, house.settings) as server:
        yield server


@pytest.fixture(params=["application", "express"])
async def client(house: House, request: pytest.FixtureRequest) -> AsyncIterator[httpx.AsyncClient]:
    """A client of either way to a prediction: what the one answers the other answers alike."""
    headers = {"Authorization": "Bearer caller"}
    if request.param == "application":
        transport = httpx.ASGITransport(door_of(house))
        async with httpx.AsyncClient(
            transport=transport, base_url="http://localhost", headers=headers
        ) as client:
            yield client
        return
    async with serving(house) as server:
        address = f"http://localhost:{server.port}"
        async with httpx.AsyncClient(base_url=address, headers=headers) as client:
            yield client
