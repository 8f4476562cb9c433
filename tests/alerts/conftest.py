"""Servers on this machine that alerts are sent to, and a worker that does what is due, when it is told."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import httpx
import pytest
from aiosmtpd.smtp import SMTP
from fastapi import FastAPI
from sqlalchemy import text

from app.alerts import api, channels_api
from app.alerts import jobs as alerts
from app.alerts.channels import Draft, make_channel
from app.alerts.kinds import ChannelKind
from app.alerts.sealing import open_vault
from app.alerts.signing import new_secret
from app.core.authenticate import Authenticator
from app.core.config import Settings
from app.core.facts import seal_facts
from app.core.ids import new_id
from app.core.jobs import DEFAULT, claim_job, run_claim
from app.core.keys import make_key
from app.core.notify import Notifications
from app.core.problems import answer_errors_with_problems
from app.core.secrets import load_secrets
from app.deployments.queries import models_underway
from app.reactions import PROMPTS, REACTIONS
from tests.alerts.certificates import certified, pem
from tests.conftest import TESTER


@dataclass
class Received:
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """An HTTP server that remembers what it was sent and answers what it is told to."""

    answers: list[bytes] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0
    hangs: bool = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in head[1:] if line)}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            self.received.append(Received(head[0].split()[1], headers, body))
            self.arrived.set()
            if self.hangs:
                await reader.read()
            else:
                writer.write(self.answers.pop(0) if self.answers else answer(200))
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()


def answer(status: int, *headers: str, body: bytes = b"") -> bytes:
    lines = [f"HTTP/1.1 {status} Told", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@pytest.fixture
async def receiver():
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    yield receiver
    server.close()


@dataclass
class Mailbox:
    mails: list = field(default_factory=list)
    refuses: str | None = None
    port: int = 0

    async def handle_RCPT(self, _server, _session, envelope, address, _options):  # noqa: N802 - aiosmtpd's name
        if self.refuses:
            return self.refuses
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server, _session, envelope):  # noqa: N802
        self.mails.append((list(envelope.rcpt_tos), envelope.content.decode()))
        return "250 OK"


@pytest.fixture
async def mailbox():
    mailbox = Mailbox()
    server = await asyncio.get_running_loop().create_server(
        lambda: SMTP(mailbox, hostname="localhost"), "127.0.0.1", 0
    )
    mailbox.port = server.sockets[0].getsockname()[1]
    yield mailbox
    server.close()


@pytest.fixture
def settings(database_url, tmp_path, mailbox):
    """A service that may send to this machine."""
    return Settings(
        database_url=database_url,
        base_path=tmp_path,
        log_level="warning",
        allowed_targets="127.0.0.0/8",
        smtp_url=f"smtp://127.0.0.1:{mailbox.port}",
        email_sender="alerts@switchyard.example",
    )


@dataclass
class Worker:
    """What the worker process does, one thing at a time and only when asked."""

    database: object
    handlers: dict
    done: int = 0

    async def seal(self):
        async with self.database.writes(TESTER) as session:
            return await seal_facts(session, REACTIONS)

    async def work_off(self):
        """Do every job that is due, and what follows from it."""
        while True:
            claim = await claim_job(self.database, [DEFAULT, alerts.QUEUE], list(self.handlers))
            if claim is None:
                return
            await run_claim(claim, self.handlers[claim.kind])
            self.done += 1

    async def look(self, rule=None):
        """Look at signals as if the time for it had come."""
        await self.execute("UPDATE alert_rule SET looked_at = NULL")
        await alerts.queue_looks(self.database)
        await self.work_off()

    async def hurry(self):
        """Have all pauses be over."""
        await self.execute("UPDATE job SET due_at = now() - interval '1 second' WHERE state = 'queued'")
        await self.work_off()

    async def execute(self, statement, **values):
        async with self.database.writes(TESTER) as session:
            await session.execute(text(statement), values)

    async def rows(self, statement, **values):
        async with self.database.reads() as session:
            return (await session.execute(text(statement), values)).mappings().all()


@pytest.fixture
def signals():
    """Values of signals by model, for a test to change between looks."""
    return {}


@pytest.fixture
async def worker(database, settings, signals):
    def reader(signal):
        async def read(_session, _since, _until):
            return signals.get(signal, {})

        return read

    from app.alerts.rules import Signal

    clocked = [Signal.ACCURACY_DROP, Signal.LATENCY_MS, Signal.DRIFT, Signal.ERROR_RATE, Signal.QUALITY_SCORE]
    clocked += [Signal.ESTIMATED_LOSS, Signal.REGIME_CHANGES]
    readers = {signal: reader(signal) for signal in clocked}
    return Worker(
        database, dict(alerts.job_handlers(settings, readers, underway=models_underway, prompts=PROMPTS))
    )


@pytest.fixture
async def add_channel(database, settings):
    vault = open_vault(settings)

    async def add(name, kind=ChannelKind.WEBHOOK, **particulars):
        if kind is ChannelKind.WEBHOOK:
            particulars.setdefault("secret", new_secret())
        async with database.writes(TESTER) as session:
            await make_channel(session, Draft(name, kind, "shown", particulars), vault)
        return particulars.get("secret")

    return add


@pytest.fixture
async def exits():
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
async def room(database, settings, exits):
    """A client of a replica that serves nothing but this room."""
    service = FastAPI()
    answer_errors_with_problems(service)
    for router in (api.router, channels_api.router):
        service.include_router(router, prefix="/api")
    state, notifications = service.state, Notifications(database.url)
    state.settings, state.database = settings, database
    state.secrets, state.vault = await load_secrets(database), open_vault(settings)
    state.authenticate = await exits.enter_async_context(Authenticator(settings, database, notifications))
    transport = httpx.ASGITransport(service, raise_app_exceptions=False)
    client = await exits.enter_async_context(
        httpx.AsyncClient(transport=transport, base_url="http://localhost")
    )
    client.state = state
    return client


@pytest.fixture
async def key_of(room, database):
    async def make(role, models=("*",)):
        async with database.writes(TESTER) as session:
            made = await make_key(session, name=f"key-{new_id().hex[:12]}", role=role, models=models)
        await room.state.authenticate.refresh()
        return {"Authorization": f"Bearer {made.text}"}

    return make


def kind(answer):
    """The status and the kind of problem of a refusal."""
    return answer.status_code, answer.json()["type"].removeprefix("/problems/")


@pytest.fixture(scope="session")
def authority():
    return certified("An authority of our own")


@pytest.fixture
def trusted(authority, tmp_path, monkeypatch):
    """Have this process trust our authority, the way that operators have it do so."""
    file = tmp_path / "authority.pem"
    file.write_bytes(pem(authority[0]))
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
