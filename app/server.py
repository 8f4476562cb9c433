"""A process that answers HTTP: uvicorn on a listening socket that its supervisor opened and shares out.

What uvicorn lacks is added here and in `app.connection`. Stopping fails no request: the process stops accepting,
lets each connection have one more answer that says `Connection: close`, and ends when they are gone.

    python -m app.server --fd 3
"""

import argparse
import asyncio
import os
import socket
import time
from importlib import import_module
from typing import Any

import uvicorn

from app.connection import KEEP_ALIVE_SECONDS, EdgeProtocol, EdgeState
from app.core.config import Settings
from app.core.processes import calm_collector, raise_open_files

APPLICATION = "app.main:create_app"

_TICKS_PER_SWEEP = 5  # uvicorn ticks ten times a second


class EdgeServer(uvicorn.Server):
    """A uvicorn that sweeps overdue connections and stops without failing a request.

    Applications find the event `draining` in their lifespan state, which is `request.state` too.
    """

    server_state: EdgeState

    def __init__(self, config: uvicorn.Config, *, drain_seconds: float, ready_fd: int | None = None) -> None:
        super().__init__(config)
        self.server_state = EdgeState()
        self._drain_seconds = drain_seconds
        self._ready_fd = ready_fd

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, accept connections, and only then report readiness."""
        self.lifespan.state["draining"] = self.server_state.draining
        await super().startup(sockets)
        if self._ready_fd is not None:
            calm_collector()
            os.write(self._ready_fd, b"ready")
            os.close(self._ready_fd)

    async def on_tick(self, counter: int) -> bool:
        """Uvicorn's housekeeping, and ours."""
        if counter % _TICKS_PER_SWEEP == 0:
            self._sweep()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting, answer what was accepted, and end within the drain's seconds."""
        for listener in (*self.servers, *(sockets or ())):
            listener.close()
        self.server_state.draining.set()
        for connection in self._connections():
            connection.drain()
        deadline = asyncio.get_running_loop().time() + self._drain_seconds
        await self._wait_for_connections(deadline)
        await self._end_tasks(deadline)
        await self.lifespan.shutdown()
        self._captured_signals.clear()  # uvicorn would raise them again: a drained process has ended well

    def _connections(self) -> list[EdgeProtocol]:
        return [each for each in self.server_state.connections if isinstance(each, EdgeProtocol)]

    def _sweep(self) -> None:
        self.server_state.now = time.monotonic()
        for connection in self._connections():
            connection.close_if_overdue()

    async def _wait_for_connections(self, deadline: float) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(0.1)  # what was accepted just now reaches its protocol in the loop's next turns
        while self.server_state.connections and loop.time() < deadline and not self.force_exit:
            self._sweep()
            await asyncio.sleep(0.05)
        for connection in self._connections():
            connection.transport.abort()

    async def _end_tasks(self, deadline: float) -> None:
        tasks = set(self.server_state.tasks)
        if not tasks:
            return
        remaining = max(deadline - asyncio.get_running_loop().time(), 0.1)
        _, unfinished = await asyncio.wait(tasks, timeout=0.1 if self.force_exit else remaining)
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)


def edge_server(application: Any, settings: Settings, *, ready_fd: int | None = None) -> EdgeServer:
    """The server of an ASGI application."""
    config = uvicorn.Config(
        application,
        loop="uvloop",
        http=EdgeProtocol,
        ws="none",
        lifespan="on",
        interface="asgi3",
        log_config=None,  # the application logs its own requests, in its own format
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )
    return EdgeServer(config, drain_seconds=settings.drain_seconds, ready_fd=ready_fd)


def main() -> None:
    """Read the command line and the environment, build the application, serve it."""
    parser = argparse.ArgumentParser(prog="python -m app.server", description=__doc__)
    parser.add_argument("--fd", type=int, required=True, help="the listening socket")
    parser.add_argument("--ready-fd", type=int, help="a pipe that gets a word once requests are answered")
    parser.add_argument(
        "--gate-fd", type=int, help="a pipe; nothing starts before it brings a word, nor without"
    )
    parser.add_argument("--app", default=APPLICATION, help="module:function that makes it of Settings")
    options = parser.parse_args()
    module, _, name = options.app.partition(":")
    make_application = getattr(import_module(module), name)
    if options.gate_fd is not None and not os.read(options.gate_fd, 1):
        return  # whoever was to open the gate has given up
    raise_open_files()
    server = edge_server(make_application(settings := Settings()), settings, ready_fd=options.ready_fd)
    server.run(sockets=[socket.socket(fileno=options.fd)])


if __name__ == "__main__":
    main()
