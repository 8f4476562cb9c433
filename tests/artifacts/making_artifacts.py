"""Makers for the tests of artifact storage: bodies, staged files, archives."""

import hashlib
import io
import tarfile
import zipfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from app.artifacts.uploads import StagedFile

GREETING = b"hello artifact"


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


async def chunks_of(body: bytes, size: int = 64 * 1024) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


async def read(stream: AsyncIterator[bytes]) -> bytes:
    return b"".join([block async for block in stream])


def staged_files(directory: Path, bodies: Mapping[str, bytes]) -> list[StagedFile]:
    """Files on disk as they lie there after an upload."""
    return [_staged(directory, name, body) for name, body in bodies.items()]


def _staged(directory: Path, name: str, body: bytes) -> StagedFile:
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)
    return StagedFile(name, path, len(body), sha256(body))


def files_under(directory: Path) -> list[str]:
    return sorted(
        each.relative_to(directory).as_posix() for each in directory.rglob("*") if not each.is_dir()
    )


def tar_of(bodies: Mapping[str, bytes], *, mode: str = "w", form: int = tarfile.PAX_FORMAT) -> bytes:
    return tar_with([(regular(name, body), body) for name, body in bodies.items()], mode=mode, form=form)


def tar_with(
    members: list[tuple[tarfile.TarInfo, bytes]], *, mode: str = "w", form: int = tarfile.PAX_FORMAT
) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode=mode, format=form) as archive:
        for info, body in members:
            archive.addfile(info, io.BytesIO(body) if info.isreg() else None)
    return target.getvalue()


def regular(name: str, body: bytes = b"") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = len(body)
    return info


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def zip_of(bodies: Mapping[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as archive:
        for name, body in bodies.items():
            archive.writestr(name, body)
    return target.getvalue()
