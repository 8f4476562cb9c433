"""Every table, for Alembic: importing this module registers each room's tables on `Base.metadata`."""

import importlib

from app.core.database import Base

ROOMS = (
    "app.core.facts",
    "app.core.idempotency",
    "app.core.jobs",
    "app.core.keys",
    "app.core.replicas",
    "app.core.secrets",
    "app.registry.tables",
    "app.traffic.tables",
    "app.evidence.tables",
    "app.deployments.tables",
    "app.monitoring.tables",
    "app.alerts.tables",
)

for room in ROOMS:
    importlib.import_module(room)

__all__ = ["Base"]
