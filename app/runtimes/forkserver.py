"""The process that forks one short-lived child for each probe: `python -m app.runtimes.forkserver FD`.

It imports the model libraries once, so that a probe costs a fork and not seconds of imports. It reads nothing that
came from outside: a child takes its request from the socket it is handed, under limits, and this process only adds
how the child ended. Everything ends when the control socket closes.
"""

import gc
import json
import os
import resource
import select
import signal
import socket
import sys
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, NoReturn

from app.core.errors import Refusal
from app.runtimes.errors import BrokenArtifact, ProbeOutOfMemory

MAX_OPEN_FILES = 64
_BLOCK = 1024 * 1024


def main(control_fd: int) -> None:
    """Serve probes until the control socket closes."""
    control = socket.socket(fileno=control_fd)
    signals, ended = socket.socketpair()
    ended.setblocking(False)
    signal.set_wakeup_fd(ended.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    children: dict[int, socket.socket] = {}
    while True:
        ready, _, _ = select.select([control, signals], [], [])
        if signals in ready:
            signals.recv(_BLOCK)
            _tell_endings(children)
        if control in ready and not _start_probe(control, children):
            break
    for pid in children:
        os.kill(pid, signal.SIGKILL)


def _start_probe(control: socket.socket, children: dict[int, socket.socket]) -> bool:
    message, fds, _, _ = socket.recv_fds(control, 1, 1)
    if not message:
        return False
    _warm_up()
    connection = socket.socket(fileno=fds[0])
    pid = os.fork()
    if pid == 0:
        _run_child(connection, (control, *children.values()))
    children[pid] = connection
    return True


def _warm_up() -> None:
    """Import the model libraries, on the first probe, so that an idle service does without them."""
    if "app.runtimes.rehearsal" in sys.modules:
        return
    from app.runtimes.rehearsal import rehearse  # noqa: PLC0415 - seconds and 200 MB
    from app.runtimes.work import WORK  # noqa: F401, PLC0415

    rehearse()
    gc.collect()
    gc.disable()  # a child does not live long enough to need it, and a collection would write to every page
    gc.freeze()  # what is there now is shared with the children until they write to it


def _tell_endings(children: dict[int, socket.socket]) -> None:
    """Signals merge, so every child that has ended by now is told of."""
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        with children.pop(pid) as connection:
            _send(connection, {"ended": os.waitstatus_to_exitcode(status)})


def _send(connection: socket.socket, message: dict[str, Any]) -> None:
    try:
        connection.sendall(json.dumps(message).encode() + b"\n")
    except (BrokenPipeError, ConnectionResetError):
        return  # whoever asked has stopped listening


def _run_child(connection: socket.socket, inherited: tuple[socket.socket, ...]) -> NoReturn:
    status = 1
    try:
        for other in inherited:
            other.close()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        status = _answer(connection)
    finally:
        os._exit(status)


def _answer(connection: socket.socket) -> int:
    _send(connection, {"pid": os.getpid()})
    header, _, payload = _receive(connection).partition(b"\n")
    request = json.loads(header)
    _silence()
    _limit(request["seconds"], request["memory_bytes"])
    _send(connection, _outcome(request, payload))
    return 0


def _receive(connection: socket.socket) -> bytes:
    blocks = []
    while block := connection.recv(_BLOCK):
        blocks.append(block)
    return b"".join(blocks)


def _silence() -> None:
    """Native libraries write to the standard streams, which belong to the service's log."""
    with Path(os.devnull).open("r+b", buffering=0) as nowhere:
        for stream in (0, 1, 2):
            os.dup2(nowhere.fileno(), stream)


def _limit(seconds: float, memory_bytes: int) -> None:
    """Limits that the kernel enforces, whatever the file makes the libraries do."""
    mapped = int(Path("/proc/self/statm").read_text("ascii").split()[0]) * resource.getpagesize()
    cpu_seconds = int(seconds) + 2  # the alarm comes first; this one stops what hides from it
    for what, limit in (
        (resource.RLIMIT_AS, mapped + memory_bytes),
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, MAX_OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (limit, limit))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def _outcome(request: dict[str, Any], payload: bytes) -> dict[str, Any]:
    from app.runtimes.work import WORK  # noqa: PLC0415 - imports the model libraries

    try:
        return {"result": WORK[request["work"]](Path(request["directory"]), payload, request["options"])}
    except Refusal as error:
        return {"error": type(error).__name__, "members": asdict(error) if is_dataclass(error) else {}}
    except MemoryError:
        return {"error": ProbeOutOfMemory.__name__, "members": {"limit_bytes": request["memory_bytes"]}}
    except Exception as error:  # noqa: BLE001 - whatever else a hostile file makes the libraries raise
        return {
            "error": BrokenArtifact.__name__,
            "members": {"problem": f"it can't be used: {type(error).__name__}"},
        }


if __name__ == "__main__":
    main(int(sys.argv[1]))
