"""The routers of this door: those of the API, and the pages outside it."""

from fastapi import APIRouter

from app.system import audit, configuration, health, keys, probes

ROUTERS: tuple[APIRouter, ...] = (
    keys.router,
    audit.router,
    health.router,
    configuration.router,
)
PAGES: tuple[APIRouter, ...] = (probes.router,)
