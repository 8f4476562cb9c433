"""Why an upload, an archive, a stored artifact or its signature is refused."""

from dataclasses import dataclass

from app.core.errors import Conflict, Invalid, NoSpace, NotFound, TooLarge, Unavailable


@dataclass(eq=False)
class UnsafeFileName(Invalid):
    """A file of the upload has a name that can't be kept."""

    name: str
    problem: str

    def detail(self) -> str:
        return f"{self.name!r} can't be a file's name: {self.problem}"


@dataclass(eq=False)
class FileNameTaken(Invalid):
    """Two files of the upload would be one on some file systems."""

    name: str
    other: str

    def detail(self) -> str:
        return f"{self.name!r} and {self.other!r} are the same name to some file systems; rename one of them"


@dataclass(eq=False)
class UploadTooLarge(TooLarge):
    """A file of the upload is larger than the limit."""

    name: str
    limit_bytes: int

    def detail(self) -> str:
        return f"{self.name!r} is larger than {self.limit_bytes} bytes"


@dataclass(eq=False)
class UploadLengthMismatch(Invalid):
    """A file of the upload is shorter or longer than was declared."""

    name: str
    declared_bytes: int
    received_bytes: int

    def detail(self) -> str:
        return (
            f"{self.name!r} was declared as {self.declared_bytes} bytes, but {self.received_bytes} had come "
            "when the upload ended or was stopped; send it again"
        )


@dataclass(eq=False)
class UploadDigestMismatch(Invalid):
    """A file of the upload does not have the SHA-256 that was declared."""

    name: str
    expected_sha256: str
    found_sha256: str

    def detail(self) -> str:
        return f"{self.name!r} arrived with SHA-256 {self.found_sha256}, not {self.expected_sha256}; send it again"


@dataclass(eq=False)
class UnsafeArchive(Invalid):
    """The archive holds what is not unpacked here, or is broken."""

    archive: str
    problem: str

    def detail(self) -> str:
        return f"{self.archive!r} was not unpacked: {self.problem}"


@dataclass(eq=False)
class BlobNotFound(NotFound):
    """The artifact store has no such blob."""

    sha256: str

    def detail(self) -> str:
        return f"the artifact store has no blob {self.sha256}"


@dataclass(eq=False)
class CorruptArtifact(Conflict):
    """A stored artifact is not what was registered, so it is not loaded."""

    file: str
    expected_sha256: str | None
    found_sha256: str | None

    def detail(self) -> str:
        expected = self.expected_sha256 or "no such file"
        found = self.found_sha256 or "nothing that can be read"
        return f"{self.file!r}: expected {expected}, found {found}; restore it from a backup"


@dataclass(eq=False)
class SignatureMismatch(Conflict):
    """The signature is not one of these files by this service's key, so they are not loaded."""

    problem: str

    def detail(self) -> str:
        return f"the signature does not fit: {self.problem}"


@dataclass(eq=False)
class ArtifactKeyMissing(Unavailable):
    """The artifact is encrypted under a key that this service does not have."""

    key_id: str

    def detail(self) -> str:
        return (
            f"no key with id {self.key_id} is in SWITCHYARD_ARTIFACT_ENCRYPTION_KEY_FILE; add it and restart"
        )


class StorageFull(NoSpace):
    """The disk for artifacts is full."""

    def detail(self) -> str:
        return "there is no room left for this artifact; nothing of it was kept. Free some space and send it again"


class StorageUnavailable(Unavailable):
    """The artifact store can't be reached."""

    def detail(self) -> str:
        return "the artifact store did not answer, or refused its credentials; nothing was changed"
