"""The routers of this door: those of the API, and the pages outside it."""

from fastapi import APIRouter

from app.system import (
    audit,
    card_api,
    cleanup_api,
    comparison,
    configuration,
    docs,
    health,
    keys,
    lineage,
    predict_operation,
    probes,
)

BEFORE_MODELS = comparison.router
"""Must be routed before the registry, which would take `compare` for a model's name."""

ROUTERS: tuple[APIRouter, ...] = (
    keys.router,
    audit.router,
    health.router,
    configuration.router,
    cleanup_api.router,
    lineage.router,
    card_api.router,
    predict_operation.router,
)
PAGES: tuple[APIRouter, ...] = (probes.router, docs.router)
