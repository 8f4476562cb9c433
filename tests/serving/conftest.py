"""The predict path with everything real but the database and the models: those are small enough to foresee."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette

from app.core.config import Settings
from app.core.problems import answer_errors_with_problems  # noqa: F401 - every kind of problem is known
from app.serving.api import PredictApp
from tests.serving.stand_in_serving import House


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    house = House(tmp_path / "spool")
    yield house
    await house.close()


@pytest.fixture
async def client(house: House) -> AsyncIterator[httpx.AsyncClient]:
    service = Starlette()
    service.state.predictor, service.state.authenticate = house.predictor, house.keys
    transport = httpx.ASGITransport(PredictApp(service, state=service.state, settings=Settings()))
    headers = {"Authorization": "Bearer caller"}
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers) as client:
        yield client
