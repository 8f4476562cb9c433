"""Makers of answered requests, and of what the log room stands on."""

from pathlib import Path
from uuid import UUID

import numpy as np
from sqlalchemy import text

from app.core.database import Database
from app.core.ids import new_ids
from app.evidence.frames import Origin, ScoredRequest, encode_frame
from app.evidence.shipper import Shipper
from app.evidence.spool import Spool

MIB = 1 << 20
FEEDBACK = "/api/models/m/feedback"


def origin(**changes) -> Origin:
    usual = {
        "model": "m",
        "version_id": UUID(int=7 << 76 | 1),
        "version": 1,
        "column_types": ("float", "float"),
        "environment": "production",
        "revision": 4,
        "arm": "champion",
        "propensity": 0.75,
        "shadow": False,
        "log_probability": 1.0,
    }
    return Origin(**usual | changes)


def scored_request(rows: int = 1, *, ids: list[UUID] | None = None, **changes) -> ScoredRequest:
    made_of = origin(**{key: changes.pop(key) for key in list(changes) if key in Origin.__slots__})
    usual = {
        "request_id": "r-1",
        "caller": "checkout",
        "entity_id": None,
        "latency_ms": 1.5,
        "ids": new_ids(rows) if ids is None else ids,
        "features": np.arange(rows * 2, dtype=np.float64).reshape(rows, 2) + 0.5,
        "predictions": [1] * rows,
        "probabilities": np.tile([0.25, 0.75], (rows, 1)),
    }
    return ScoredRequest(made_of, **usual | changes)


def open_spool(root: Path, name: str = "http-0", **options) -> Spool:
    return Spool(root / name, **{"max_bytes": 64 * MIB} | options)


def spool_requests(root: Path, *requests: ScoredRequest) -> None:
    """What a process leaves behind that answered these requests and ended."""
    spool = open_spool(root)
    spool.append(*map(encode_frame, requests))
    spool.close()


async def ship_all(database: Database, root: Path, shipper: Shipper | None = None) -> None:
    shipper = shipper or Shipper(database, root)
    while await shipper.ship_round():
        pass


async def log_requests(database: Database, root: Path, *requests: ScoredRequest) -> None:
    spool_requests(root, *requests)
    await ship_all(database, root)


async def count(database: Database, statement: str) -> int:
    async with database.reads() as session:
        return await session.scalar(text(statement))


async def logged_ids(database: Database) -> list[UUID]:
    async with database.reads() as session:
        return list(await session.scalars(text("SELECT id FROM prediction ORDER BY id")))


async def give(client, *items, url=FEEDBACK):
    answer = await client.post(url, json={"items": list(items)})
    assert answer.status_code == 200, answer.text
    return answer.json()


def about(prediction_id, actual=1, **more):
    return {"prediction_id": str(prediction_id), "actual": actual, **more}
