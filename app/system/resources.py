"""What the processes of this replica and its container use."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

CGROUP = Path("/sys/fs/cgroup")
_ROLES = {"app.server": "http", "app.worker": "worker"}
_UNLIMITED = 1 << 60  # what version 1 of control groups says where there is no limit


@dataclass(frozen=True)
class Used:
    """One process."""

    pid: int
    role: str
    memory_bytes: int
    cpu_seconds: float
    open_files: int
    started_at: float


@dataclass(frozen=True)
class Container:
    """The control group; what it does not tell is None."""

    memory_bytes: float | None
    memory_limit_bytes: float | None
    cpu_seconds: float | None
    cpu_limit_cores: float | None


def list_processes() -> Iterator[Used]:
    """This process and, where a supervisor started it, that one and all that it started; one that ends meanwhile is left out."""
    own = psutil.Process()
    supervisor = own.parent() if "SWITCHYARD_PROCESS" in os.environ else None
    family = [own] if supervisor is None else [supervisor, *supervisor.children()]
    for process in family:
        try:
            with process.oneshot():
                yield _used(process, "supervisor" if process == supervisor else _role(process))
        except psutil.Error:
            continue


def _used(process: psutil.Process, role: str) -> Used:
    times = process.cpu_times()
    return Used(
        process.pid,
        role,
        process.memory_info().rss,
        times.user + times.system,
        process.num_fds(),
        process.create_time(),
    )


def _role(process: psutil.Process) -> str:
    command = process.cmdline()
    if "postgres" in Path(process.name()).name:
        return "postgres"
    return next((role for module, role in _ROLES.items() if module in command), "other")


def read_container(root: Path = CGROUP) -> Container:
    """What the kernel's control group says, version 2 or 1 (Linux kernel, admin-guide/cgroup-v2.rst and cgroup-v1)."""
    if (root / "cgroup.controllers").exists():
        statistics = dict(line.split() for line in _text(root / "cpu.stat").splitlines())
        micros = _number(statistics.get("usage_usec", ""))
        quota, _, period = _text(root / "cpu.max").partition(" ")
        used, limit = (_number(_text(root / f"memory.{name}")) for name in ("current", "max"))
        return Container(used, limit, micros and micros / 1e6, _share(quota, period))
    nanos = _number(_text(root / "cpuacct" / "cpuacct.usage"))
    quota, period = (_text(root / "cpu" / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
    used, limit = (_number(_text(root / "memory" / f"memory.{name}_in_bytes")) for name in ("usage", "limit"))
    return Container(used, limit, nanos and nanos / 1e9, _share(quota, period))


def _share(quota: str, period: str) -> float | None:
    allowed, span = _number(quota), _number(period)
    return allowed / span if allowed and span else None


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:  # another layout, or not for us to read
        return ""


def _number(text: str) -> float | None:
    """A number that is one: "max", -1 and what stands for no limit are none."""
    return float(text) if text.isdigit() and int(text) < _UNLIMITED else None


def free_bytes(directory: Path) -> tuple[int, int]:
    """What is free of the disk on which a directory lies, and what there is of it."""
    usage = shutil.disk_usage(directory)
    return usage.free, usage.total
