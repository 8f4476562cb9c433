"""The routers of this door: those of the API, and the pages outside it."""

from fastapi import APIRouter

from app.system import audit, configuration, docs, health, keys, predict_operation, probes

ROUTERS: tuple[APIRouter, ...] = (
    keys.router,
    audit.router,
    health.router,
    configuration.router,
    predict_operation.router,
)
PAGES: tuple[APIRouter, ...] = (probes.router, docs.router)
