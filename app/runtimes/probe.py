"""First loads of model files, each in a child process under limits: a hostile file costs a refusal, nothing else."""

import asyncio
import json
import os
import signal
import socket
import sys
from base64 import b64decode
from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Self

from app.core.errors import Refusal, Unavailable
from app.runtimes import errors
from app.runtimes.errors import BadSample, BrokenArtifact, ProbeOutOfMemory, ProbeTimedOut
from app.runtimes.groups import Slicing
from app.runtimes.onnx import Conversion
from app.runtimes.reports import Answers, ProbeReport, ReferenceProfile, SliceProfiles, TableProfile
from app.stats.profile import Sections

IMPORT_SECONDS = (
    120.0  # the first probe waits for the libraries; on a loaded machine that takes tens of seconds
)
GRACE_SECONDS = 3.0  # for the child's own alarm to come first
_KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "HOME", "LD_LIBRARY_PATH", "SYSTEMROOT")
_FEW_THREADS = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "ARROW_DEFAULT_MEMORY_POOL": "system",  # the other pools start threads, which do not survive a fork
}


class Prober:
    """Probes model files; use it as an async context, or `start` and `stop` it."""

    def __init__(
        self, *, seconds: float, memory_bytes: int, allowed_unsafe: tuple[str, ...] = (), at_once: int = 2
    ) -> None:
        self._seconds = seconds
        self._memory_bytes = memory_bytes
        self._allowed_unsafe = allowed_unsafe
        self._slots = asyncio.Semaphore(at_once)
        self._starting = asyncio.Lock()
        self._server: asyncio.subprocess.Process | None = None
        self._control: socket.socket | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start the server that forks; it imports nothing heavy before the first probe."""
        async with self._starting:
            if self._server is None or self._server.returncode is not None:
                await self._launch()

    async def stop(self) -> None:
        """End the server and whatever it is probing."""
        if self._control is not None:
            self._control.close()
        if self._server is not None:
            await self._server.wait()
        self._server = self._control = None

    async def probe(
        self,
        directory: Path,
        *,
        sample: bytes | None = None,
        signature: dict[str, Any] | None = None,
        time_column: str | None = None,
    ) -> ProbeReport:
        """Load the model in a directory for the first time, and try it on its reference sample.

        Args:
            directory: where the artifact's files lie.
            sample: reference rows as CSV or Parquet, without the target.
            signature: what the caller says the model takes and gives, instead of what the sample shows.
            time_column: of the sample, which tells when each row was, and is none of the model's.

        Raises:
            UnsafeArtifact: the file could run code or reach outside itself.
            UnknownFormat: it is of no known format.
            BrokenArtifact: it can't be loaded, or does not predict.
            BadSample: the sample does not fit it.
            BadSignature: the signature is wrong, or contradicts it.
            ProbeTimedOut: it took too long.
            ProbeOutOfMemory: it took too much memory.
        """
        if sample == b"":
            raise BadSample("the reference holds no rows: it is an empty file")
        options = {"signature": signature, "time_column": time_column}
        result = await self._ask("examine", directory, options, sample or b"")
        return ProbeReport(**result)

    async def check(
        self,
        directory: Path,
        *,
        signature: dict[str, Any],
        sample_input: list[list[Any]],
        sample_output: dict[str, Any],
    ) -> None:
        """Make sure that a model still gives the answers that were stored with it.

        Raises:
            OutputsChanged: it gives others.
            Refusal: it can't be loaded any more, as in `probe`.
        """
        options = {"signature": signature, "sample_input": sample_input, "sample_output": sample_output}
        await self._ask("check", directory, options)

    async def answer_table(
        self,
        directory: Path,
        *,
        signature: dict[str, Any],
        table: bytes,
        target: str,
        with_probabilities: bool = False,
    ) -> Answers:
        """A model's answers to held-out rows in CSV or Parquet, of which the column `target` holds the truth.

        Raises:
            BadSample: the rows don't fit the model.
            Refusal: it can't be loaded, as in `probe`.
        """
        options = {"signature": signature, "target": target, "with_probabilities": with_probabilities}
        return Answers(**await self._ask("answer table", directory, options, table))

    async def answer_instances(
        self, directory: Path, *, signature: dict[str, Any], instances: list[Any]
    ) -> list[Any]:
        """A model's answers to rows as a caller would send them.

        Raises:
            BadSample: some row can't be scored.
            Refusal: it can't be loaded, as in `probe`.
        """
        options = {"signature": signature, "instances": instances}
        return Answers(**await self._ask("answer instances", directory, options)).prediction

    async def convert(
        self, directory: Path, *, signature: dict[str, Any], sample_input: list[list[Any]]
    ) -> Conversion:
        """The model as an equal ONNX model, with the speed-up that was measured.

        Raises:
            NotConvertible: it has no equal, or none that is proved on this sample.
            Refusal: it can't be loaded, as in `probe`.
        """
        options = {"signature": signature, "sample_input": sample_input}
        return Conversion.from_json(await self._ask("convert", directory, options))

    async def profile_reference(
        self, directory: Path, *, signature: dict[str, Any], sample: bytes, time_column: str | None = None
    ) -> ReferenceProfile:
        """The axes and the profile of a reference sample in CSV or Parquet, with the hours of its week.

        Raises:
            BadSample: no row of it fits the model.
            Refusal: the model can't be loaded, as in `probe`.
        """
        options = {"signature": signature, "time_column": time_column}
        result = await self._ask("profile reference", directory, options, sample)
        week = [(hour, rows, _decoded(profile)) for hour, rows, profile in result["week"]]
        sections = _decoded(result["profile"])
        return ReferenceProfile(result["plan"], result["rows"], sections, result["order"], week)

    async def profile_table(
        self, *, signature: dict[str, Any], plan: list[dict[str, Any]], table: bytes
    ) -> TableProfile:
        """A table in CSV or Parquet, counted along a plan; no model is loaded.

        Raises:
            BadSample: it can't be read, or lacks columns.
            Refusal: reading it took too long or too much memory, as in `probe`.
        """
        result = await self._ask("profile table", Path(), {"signature": signature, "plan": plan}, table)
        reasons = {(column, problem): rows for column, problem, rows in result["reasons"]}
        sections = None if result["profile"] is None else _decoded(result["profile"])
        return TableProfile(result["rows"], result["refused"], result["repeated"], reasons, sections)

    async def profile_slices(
        self, *, signature: dict[str, Any], plan: list[dict[str, Any]], sample: bytes, by: Slicing
    ) -> SliceProfiles:
        """A reference sample, counted along a plan apart by groups of one column; no model is loaded.

        Raises:
            BadSample: no row of it fits the model.
            Refusal: reading it took too long or too much memory, as in `probe`.
        """
        options = {"signature": signature, "plan": plan, "by": asdict(by)}
        result = await self._ask("profile slices", Path(), options, sample)
        return SliceProfiles(result["groups"], [(rows, _decoded(part)) for rows, part in result["slices"]])

    async def _ask(self, work: str, directory: Path, options: dict[str, Any], payload: bytes = b"") -> Any:
        request = {"work": work, "directory": str(directory.absolute()), "seconds": self._seconds}
        options |= {"allowed_unsafe": self._allowed_unsafe}
        header = json.dumps(request | {"memory_bytes": self._memory_bytes, "options": options}).encode()
        async with self._slots:
            answer = await self._exchange(header + b"\n" + payload)
            if answer is None:  # the server died, perhaps of another file
                answer = await self._exchange(header + b"\n" + payload)
        if answer is None:
            raise Unavailable
        return self._outcome(answer)

    async def _exchange(self, request: bytes) -> list[bytes] | None:
        """The lines that the child and the server wrote; None when there is no server to write the last."""
        await self.start()
        reader, writer = await self._open_child()
        try:
            hello = await asyncio.wait_for(reader.readline(), IMPORT_SECONDS)
            if not hello:
                return None
            with suppress(ConnectionError):  # the child may end without having read everything
                writer.write(request)
                writer.write_eof()
            return await self._read_answer(reader, json.loads(hello)["pid"])
        finally:
            writer.close()

    async def _read_answer(self, reader: asyncio.StreamReader, pid: int) -> list[bytes] | None:
        try:
            lines = (await asyncio.wait_for(reader.read(), self._seconds + GRACE_SECONDS)).splitlines()
        except TimeoutError:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            raise ProbeTimedOut(self._seconds) from None
        return lines or None

    def _outcome(self, lines: list[bytes]) -> Any:
        ended = json.loads(lines[-1]).get("ended", 0)
        if ended == 0:
            return _result_of(json.loads(lines[0]))
        if -ended in (signal.SIGALRM, signal.SIGXCPU):
            raise ProbeTimedOut(self._seconds)
        if -ended == signal.SIGKILL:  # only the kernel's out-of-memory killer does that
            raise ProbeOutOfMemory(self._memory_bytes)
        how = signal.Signals(-ended).name if ended < 0 else "an error"
        raise BrokenArtifact(f"the process that loaded it ended with {how}")

    async def _open_child(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                assert self._control is not None
                socket.send_fds(self._control, [b"\0"], [theirs.fileno()])
            except OSError:
                control = await self._launch()
                socket.send_fds(control, [b"\0"], [theirs.fileno()])
        return await asyncio.open_unix_connection(sock=ours)

    async def _launch(self) -> socket.socket:
        if self._control is not None:
            self._control.close()
        control, theirs = socket.socketpair()
        with theirs:
            self._server = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "app.runtimes.forkserver",
                str(theirs.fileno()),
                pass_fds=(theirs.fileno(),),
                stdin=asyncio.subprocess.DEVNULL,
                env=_bare_environment(),
            )
        self._control = control
        return control


def _bare_environment() -> dict[str, str]:
    """Nothing that a child has no use for: no addresses, no keys."""
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    return kept | _FEW_THREADS | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def _decoded(profile: list[str]) -> Sections:
    counts, sums, extremes, labels = map(b64decode, profile)
    return counts, sums, extremes, labels


def _result_of(answer: dict[str, Any]) -> Any:
    if "error" not in answer:
        return answer["result"]
    kind: type[Refusal] = getattr(errors, answer["error"])
    names = {field.name for field in fields(kind)}  # type: ignore[arg-type] # a room's errors are dataclasses
    raise kind(**{name: value for name, value in answer["members"].items() if name in names})
