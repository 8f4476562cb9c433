"""What the processes of one service agree on: who owns a directory, who accepts, and who ends with whom."""

import asyncio
import ctypes
import fcntl
import gc
import os
import resource
import signal
import socket
import struct
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped,unused-ignore]

_PR_SET_PDEATHSIG = 1  # prctl(2)
_SO_ATTACH_FILTER = 26  # socket(7); the module socket does not name it
_BACKLOG = 2048
_OPEN_FILES = 65_536
_NEW_OBJECTS = (
    20_000  # between two looks for garbage: a turn with many requests makes thousands, and drops them all
)


class StartFailed(RuntimeError):  # noqa: N818 - reads as what happened
    """The service, or a part of it, did not start; the message is for the operator."""


class DirectoryTaken(StartFailed):
    """Another process owns the directory."""


class AddressTaken(StartFailed):
    """The service can't listen where it was told to."""


@contextmanager
def claimed(directory: Path) -> Iterator[None]:
    """Own a directory for as long as the block lasts; the kernel ends the claim with the process.

    Raises:
        DirectoryTaken: another process owns it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            owner = file.read().strip() or "unknown"
            raise DirectoryTaken(
                f"{directory} is in use by process {owner}: stop that one first, "
                "or give this one a base path of its own (MLOPS_BASE_PATH)"
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that all HTTP processes accept from.

    Raises:
        AddressTaken: the address can't be had.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except OSError as error:
        raise AddressTaken(f"can't listen on {host}:{port}: {error.strerror or error}") from error
    with listener:
        yield listener


def refuse_new_connections(listener: socket.socket) -> None:
    """Make the kernel drop requests to connect while those already made are still accepted.

    Without it, connections that complete between the last accept and the close would be reset. The filter is
    BPF, socket(7): load byte 13 of the TCP header; if SYN is set without ACK, drop the packet, else keep it.
    """
    if sys.platform != "linux":
        return
    program = (
        (0x30, 0, 0, 13),
        (0x54, 0, 0, 0x12),
        (0x15, 0, 1, 0x02),
        (0x06, 0, 0, 0),
        (0x06, 0, 0, 0xFFFFFFFF),
    )
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in program))
    listener.setsockopt(
        socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", len(program), ctypes.addressof(code))
    )


def raise_open_files() -> None:
    """Let this process have as many files and sockets open as the system allows, up to `_OPEN_FILES`.

    Most systems begin with 1,024, and each large file of an upload waits in one.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def leash(farewell: signal.Signals) -> Callable[[], None] | None:
    """A `preexec_fn` that makes the kernel send `farewell` to the new process when this one dies, however it dies.

    Only Linux offers this; elsewhere the next start finds what was left. The new process must be started from
    the main thread, since the kernel watches the thread.
    """
    if sys.platform != "linux":
        return None
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def watch_parent() -> None:
        prctl(_PR_SET_PDEATHSIG, int(farewell))
        if os.getppid() != parent:
            os.kill(os.getpid(), farewell)

    return watch_parent


def tell(child: asyncio.subprocess.Process, order: signal.Signals) -> None:
    """Send a signal to a child unless it has ended.

    `Process.send_signal` looks for the child's end first; when it finds it, asyncio never learns the status.
    """
    if child.returncode is None:
        with suppress(ProcessLookupError):
            os.kill(child.pid, order)


def processes_in(directory: Path) -> list[psutil.Process]:
    """The processes that have `directory` as their working directory, as far as we may know."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.cwd() == str(directory):
                found.append(process)
    return found


def end_processes(processes: Iterable[psutil.Process], farewell: signal.Signals, *, patience: float) -> None:
    """Send `farewell` to processes and wait up to `patience` seconds for all of them to be gone."""
    addressed = list(processes)
    for process in addressed:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(farewell)
    psutil.wait_procs(addressed, timeout=patience)


def calm_collector() -> None:
    """What the start has made stays: looking through it again and again costs a tenth of a second each time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, 20, 20)


def give_way() -> None:
    """Let those first who wait for this core; the kernel by itself gets to them with its next tick, up to 4 ms later."""
    os.sched_yield()
