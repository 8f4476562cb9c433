"""The application: the one place where the wires between rooms are soldered."""

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import APIRouter, FastAPI

import app as switchyard
from app.core.access import require_declared_roles
from app.core.authenticate import Authenticator
from app.core.bootstrap import require_a_way_in
from app.core.config import Settings
from app.core.database import Database
from app.core.health import Health
from app.core.hosts import HostRules
from app.core.limits import BodyLimits
from app.core.notify import Notifications
from app.core.problems import answer_errors_with_problems
from app.core.secrets import load_secrets
from app.core.telemetry import RequestLog, configure_logging, tracing
from app.registry import api as registry
from app.artifacts.cache import ArtifactCache
from app.artifacts.store import open_artifact_store
from app.registry.gates import Gatekeeper
from app.registry.intake import Intake
from app.artifacts.signing import open_signer
from app.runtimes.probe import Prober
from app.system import keys

ROUTERS: tuple[APIRouter, ...] = (keys.router, registry.router)
FORMS = re.compile(r"/api(/v1)?/models(/register)?")


def create_app(settings: Settings) -> FastAPI:
    """The service as an ASGI application, to be served by `app.server`.

    Raises:
        RuntimeError: some route does not say who may call it.
    """
    configure_logging(settings.log_level)
    service = FastAPI(
        title="Switchyard",
        version=switchyard.__version__,
        lifespan=run,
        docs_url=None,
        redoc_url=None,
        telemetry=tracing(settings.telemetry),
    )
    service.state.settings = settings
    service.state.health = Health()
    answer_errors_with_problems(service)
    for router in ROUTERS:
        service.include_router(router, prefix="/api")
    for router in ROUTERS:
        service.include_router(router, prefix="/api/v1", include_in_schema=False)
    service.add_middleware(BodyLimits, settings=settings, form_paths=FORMS)
    service.add_middleware(HostRules, settings=settings)
    service.add_middleware(RequestLog)
    require_declared_roles(service)
    return service


@asynccontextmanager
async def run(service: FastAPI) -> AsyncIterator[None]:
    """What lives as long as the application: connections, caches, background work."""
    state, settings = service.state, service.state.settings
    url = settings.sqlalchemy_url
    if url is None:
        raise RuntimeError(
            "ML_DATABASE_URL is not set; `switchyard serve` starts the embedded Postgres and sets it"
        )
    async with AsyncExitStack() as stack:
        state.database = Database(url)
        stack.push_async_callback(state.database.close)
        await require_a_way_in(settings, state.database)
        state.secrets = await load_secrets(state.database)
        notifications = Notifications(url)
        state.authenticate = await stack.enter_async_context(
            Authenticator(settings, state.database, notifications)
        )
        state.store, state.signer = open_artifact_store(settings), open_signer(settings)
        state.artifacts = ArtifactCache(state.store, state.signer, settings.base_path)
        state.prober = await stack.enter_async_context(_prober(settings))
        state.intake = Intake(settings, state.database, state.store, state.signer, state.prober)
        state.gatekeeper = Gatekeeper(state.database, state.store, state.artifacts, state.prober)
        await stack.enter_async_context(notifications)
        yield


def _prober(settings: Settings) -> Prober:
    return Prober(
        seconds=settings.probe_seconds,
        memory_bytes=settings.probe_memory_bytes,
        allowed_unsafe=settings.allowed_unsafe_formats,
    )
