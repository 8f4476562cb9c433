"""The application: the one place where the wires between rooms are soldered."""

import asyncio
import os
import re
import socket
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

from fastapi import APIRouter, FastAPI
from starlette.datastructures import State
from starlette.types import ASGIApp, Receive, Scope, Send

import app as switchyard
from app.alerts import api as alerts
from app.alerts import channels_api
from app.alerts.channels import adopt_channels
from app.alerts.sealing import open_vault
from app.artifacts.cache import ArtifactCache
from app.artifacts.signing import open_signer
from app.artifacts.store import open_artifact_store
from app.artifacts.uploads import sweep_staging
from app.core.access import require_declared_roles
from app.core.authenticate import Authenticator
from app.core.background import Background
from app.core.bootstrap import require_a_way_in
from app.core.config import Settings
from app.core.database import Database
from app.core.edge import API
from app.core.health import Health
from app.core.hosts import HostRules
from app.core.limits import BodyLimits
from app.core.notify import Notifications
from app.core.problems import answer_errors_with_problems
from app.core.replicas import Preparing
from app.core.secrets import load_secrets
from app.core.telemetry import RequestLog, configure_logging, tracing
from app.deployments import api as deployments
from app.deployments.waiting import SettledDeployments
from app.evidence import api as evidence
from app.evidence.readers import FeedbackReaders
from app.evidence.spool import Spool
from app.inference.api import InferenceApp
from app.inference.openapi import describe_doors
from app.inference.wording import Reworded
from app.monitoring import api as monitoring
from app.monitoring.drift import api as drift
from app.monitoring.performance import api as performance
from app.monitoring.quality import api as quality
from app.monitoring.regimes import api as regimes
from app.registry import api as registry
from app.registry.conversion import Converter
from app.registry.gates import Gatekeeper
from app.registry.intake import Intake
from app.runtimes.cache import ModelCache
from app.runtimes.probe import Prober
from app.serving.api import PredictApp
from app.serving.directory import Directory
from app.serving.express import Express
from app.serving.figures import tell_queues
from app.serving.journal import Journal
from app.serving.loader import VersionLoader
from app.serving.predictor import Predictor
from app.serving.presence import Presence
from app.serving.readers import Readers
from app.serving.shadows import Shadows
from app.system import api as system
from app.system.openapi import describe_in_full
from app.system.parts import watch_parts
from app.traffic import api as traffic
from app.traffic.live import RouteTable

ROUTERS: tuple[APIRouter, ...] = (
    system.BEFORE_MODELS,
    registry.router,  # early, because routes are tried in turn and models are read most
    *system.ROUTERS,
    deployments.verbs,
    deployments.router,
    traffic.router,
    evidence.router,
    monitoring.router,
    drift.router,
    performance.router,
    quality.router,
    regimes.router,
    alerts.router,
    channels_api.router,
)
FORMS = re.compile(r"/api(/v1)?/models(/register)?")


class Service(FastAPI):
    """FastAPI, with predictions turned off in front of all its layers."""

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:  # type: ignore[override]
        """Answer as FastAPI does, without its look for a tracer at every request where none is wanted."""
        if self.state.settings.telemetry or scope["type"] != "http":
            return super().__call__(scope, receive, send)
        scope["app"] = self
        if self.middleware_stack is None:
            self.middleware_stack = self.build_middleware_stack()
        return self.middleware_stack(scope, receive, send)

    def build_middleware_stack(self) -> ASGIApp:
        """What a request passes: first of all the door of predictions."""
        return PredictApp(super().build_middleware_stack(), state=self.state, settings=self.state.settings)


def create_app(settings: Settings) -> FastAPI:
    """The service as an ASGI application, to be served by `app.server`.

    Raises:
        RuntimeError: some route does not say who may call it.
    """
    configure_logging(settings.log_level)
    service = Service(
        title="Switchyard",
        version=switchyard.__version__,
        lifespan=run,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        telemetry=tracing(settings.telemetry),
    )
    service.state.settings = settings
    service.state.health = Health()
    answer_errors_with_problems(service)
    for router in ROUTERS:
        service.include_router(router, prefix=API)
    for router in ROUTERS:
        service.include_router(router, prefix=f"{API}/v1", include_in_schema=False)
    for pages in system.PAGES:
        service.include_router(pages)
    describe_in_full(service, describe_doors())
    service.add_middleware(InferenceApp, state=service.state)
    service.add_middleware(BodyLimits, settings=settings, form_paths=FORMS)
    service.add_middleware(HostRules, settings=settings)
    service.add_middleware(Reworded)
    service.add_middleware(RequestLog)
    require_declared_roles(service)
    return service


@asynccontextmanager
async def run(service: FastAPI) -> AsyncIterator[dict[str, Any]]:
    """What lives as long as the application: connections, caches, background work.

    Its lifespan state tells the server of the express way; traced requests all go through FastAPI.
    """
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
        state.vault = open_vault(settings)
        await adopt_channels(settings, state.database, state.vault)
        notifications = Notifications(url)
        state.authenticate = await stack.enter_async_context(
            Authenticator(settings, state.database, notifications)
        )
        state.settled_deployments = SettledDeployments(state.database, notifications)
        await open_registry(state, stack)
        await open_serving(state, stack, notifications)
        watch_parts(state)
        await stack.enter_async_context(notifications)
        yield (
            {} if settings.telemetry else {"express": Express(state.predictor, state.authenticate, settings)}
        )


async def open_registry(state: State, stack: AsyncExitStack) -> None:
    """Where artifacts lie, and who looks at them first."""
    settings: Settings = state.settings
    await asyncio.to_thread(sweep_staging, settings.base_path)  # what a killed process left half-way
    state.store, state.signer = open_artifact_store(settings), open_signer(settings)
    state.artifacts = ArtifactCache(state.store, state.signer, settings.base_path)
    prober = await stack.enter_async_context(
        Prober(
            seconds=settings.probe_seconds,
            memory_bytes=settings.probe_memory_bytes,
            allowed_unsafe=settings.allowed_unsafe_formats,
        )
    )
    state.prober = prober
    converter = Converter(settings.base_path, state.store, state.signer, prober)
    state.intake = Intake(settings, state.database, state.store, state.signer, prober, converter)
    state.gatekeeper = Gatekeeper(state.database, state.store, state.artifacts, prober)


async def open_serving(state: State, stack: AsyncExitStack, notifications: Notifications) -> None:
    """The way of a prediction: directory, routes, models in memory, spool."""
    settings: Settings = state.settings
    name = process_name()
    spool = Spool(settings.base_path / "spool" / name, max_bytes=settings.spool_bytes)
    stack.callback(spool.close)
    state.preparing = Preparing(state.database, notifications)
    state.routes = RouteTable(state.database)
    state.routes.listen(notifications)
    loader = VersionLoader(state.database, state.artifacts, settings.allowed_unsafe_formats)
    state.models = ModelCache(
        loader, budget_bytes=settings.model_memory_bytes, queue_rows=settings.predict_queue_rows
    )
    stack.push_async_callback(state.models.close)
    await stack.enter_async_context(state.routes)
    state.presence = Presence(name, state.database, notifications, state.routes, state.models)
    await stack.enter_async_context(state.presence)
    queues = Background("queues", partial(tell_queues, state.models))
    queues.start()
    stack.push_async_callback(queues.stop)
    journal = Journal(spool)
    shadows = Shadows(
        state.models,
        journal,
        queue_rows=settings.predict_queue_rows,
        deadline_seconds=settings.predict_deadline_ms / 1000,
    )
    stack.push_async_callback(shadows.drain)
    state.feedback_readers = FeedbackReaders()
    readers = Readers()
    stack.push_async_callback(readers.close)
    state.predictor = Predictor(
        lines=Directory(state.database, state.routes, notifications),
        cache=state.models,
        journal=journal,
        shadows=shadows,
        readers=readers,
        settings=settings,
    )


def process_name() -> str:
    """This process among all replicas: the machine, and its place among the processes there."""
    return f"{socket.gethostname()}-{os.environ.get('SWITCHYARD_PROCESS', '0')}"
