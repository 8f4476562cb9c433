"""The routers of this door: those of the API, and the pages outside it."""

from fastapi import APIRouter

from app.system import audit, keys

ROUTERS: tuple[APIRouter, ...] = (
    keys.router,
    audit.router,
)
