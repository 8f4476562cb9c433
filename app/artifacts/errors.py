"""Why an upload, an archive, a stored artifact or its signature is refused."""

from dataclasses import dataclass

from app.core.errors import Conflict, Invalid, NoSpace, NotFound, TooLarge, Unavailable


@dataclass(eq=False)
class UnsafeFileName(Invalid):
    """A file of the upload has a name that can't be kept.

    Files are kept under the names that they came with, so a name has to be a plain relative path on every
    system: without `..`, colons, backslashes, invisible characters and reserved device names, 1,024 bytes and
    16 levels at most. `problem` says which rule `name` breaks.
    """

    name: str
    problem: str

    def detail(self) -> str:
        return f"{self.name!r} can't be a file's name: {self.problem}"


@dataclass(eq=False)
class FileNameTaken(Invalid):
    """Two files of the upload would be one on some file systems.

    `name` and `other` are the same, or differ by case or Unicode form alone, or one is a file where the other
    is a directory. On some disks one of them would replace the other, so nothing was kept.
    """

    name: str
    other: str

    def detail(self) -> str:
        return f"{self.name!r} and {self.other!r} are the same name to some file systems; rename one of them"


@dataclass(eq=False)
class UploadTooLarge(TooLarge):
    """A file of the upload is larger than the limit.

    The parts of one form count together, a file that is imported by its address counts alone; `name` is where
    the limit of `SWITCHYARD_MAX_UPLOAD_BYTES` was passed. Nothing was kept.
    """

    name: str
    limit_bytes: int

    def detail(self) -> str:
        return f"{self.name!r} is larger than {self.limit_bytes} bytes"


@dataclass(eq=False)
class UploadLengthMismatch(Invalid):
    """A file of the upload is shorter or longer than was declared.

    When the import began, the store told another size of the file than it then gave: the file was being
    written, or reading it broke off. Nothing was kept.
    """

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
    """A file of the upload does not have the SHA-256 that was declared.

    The `sha256` of the metadata declares a digest for the file `name`, and what arrived has another: it was
    changed or cut off on its way, or the digest is that of another file. Nothing was kept.
    """

    name: str
    expected_sha256: str
    found_sha256: str

    def detail(self) -> str:
        return f"{self.name!r} arrived with SHA-256 {self.found_sha256}, not {self.expected_sha256}; send it again"


@dataclass(eq=False)
class UnsafeArchive(Invalid):
    """The archive holds what is not unpacked here, or is broken.

    Archives (`.tar`, `.tar.gz`, `.tgz`, `.zip`) are unpacked within limits: plain files and directories
    alone, 10,000 entries, `SWITCHYARD_MAX_UPLOAD_BYTES`, and from 16 MiB on 200 times their size; no links,
    no encryption, no archive inside. `problem` says what broke them; nothing was kept.
    """

    archive: str
    problem: str

    def detail(self) -> str:
        return f"{self.archive!r} was not unpacked: {self.problem}"


@dataclass(eq=False)
class BlobNotFound(NotFound):
    """The artifact store has no such blob.

    Files are stored by their SHA-256, and under this one the store has nothing, although a version needs it.
    The service itself deletes only what no version has: the file was deleted by other hands, or this is
    another store than the one it was written to.
    """

    sha256: str

    def detail(self) -> str:
        return f"the artifact store has no blob {self.sha256}"


@dataclass(eq=False)
class CorruptArtifact(Conflict):
    """A stored artifact is not what was registered, so it is not loaded.

    Files are hashed at every load and held against what was registered. `file` is missing, was changed or
    damaged, or was added, and a model of such files could answer anything.
    """

    file: str
    expected_sha256: str | None
    found_sha256: str | None

    def detail(self) -> str:
        expected = self.expected_sha256 or "no such file"
        found = self.found_sha256 or "nothing that can be read"
        return f"{self.file!r}: expected {expected}, found {found}; restore it from a backup"


@dataclass(eq=False)
class SignatureMismatch(Conflict):
    """The signature is not one of these files by this service's key, so they are not loaded.

    The files are those that were registered, but the signature over them was made with another key than the
    one that this service has now, or for other files. It is told as the reason why a version is not ready, or
    in the report of a gate.
    """

    problem: str

    def detail(self) -> str:
        return f"the signature does not fit: {self.problem}"


@dataclass(eq=False)
class ArtifactKeyMissing(Unavailable):
    """The artifact is encrypted under a key that this service does not have.

    Artifacts are encrypted where they are stored, and each names the key that it needs. The key file has none
    with the id `key_id`, or no key file is set; to ask again changes nothing until it is.
    """

    key_id: str

    def detail(self) -> str:
        return (
            f"no key with id {self.key_id} is in SWITCHYARD_ARTIFACT_ENCRYPTION_KEY_FILE; add it and restart"
        )


class StorageFull(NoSpace):
    """The disk for artifacts is full.

    The disk had no room, or a quota did not allow more: that of the store, or that of the base path, where
    uploads are received and artifacts are fetched to. Nothing of the file was kept.
    """

    def detail(self) -> str:
        return "there is no room left for this artifact; nothing of it was kept. Free some space and send it again"


class StorageUnavailable(Unavailable):
    """The artifact store can't be reached.

    The store, a directory or a bucket, did not answer, answered with an error, or refused what this service
    may do there. Nothing was changed.
    """

    def detail(self) -> str:
        return "the artifact store did not answer, or refused its credentials; nothing was changed"
