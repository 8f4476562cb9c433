"""Signatures over artifacts: sigstore bundles by model-signing, under an elliptic-curve key of this service.

Everything here blocks; callers run it in threads. The library takes over a second to import (it brings all of
sigstore), so it is imported at the first signature.
"""

import base64
import json
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from app.artifacts.disk import create_whole, full_disk_refused, replace_whole
from app.artifacts.errors import SignatureMismatch
from app.core.config import Settings

if TYPE_CHECKING:
    from model_signing.hashing import Config as HashingConfig

_UNFIT = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    InvalidSignature,
)  # what a foreign bundle can cause


class ArtifactSigner:
    """Signs and verifies directories of files with one key pair."""

    def __init__(self, private_key: Path, public_key: Path) -> None:
        self._private_key = private_key
        self.public_key = public_key

    def sign_directory(self, directory: Path) -> bytes:
        """A signature over the name and SHA-256 of every file under `directory`."""
        from model_signing import signing  # noqa: PLC0415 - see the module's docstring

        config = signing.Config().set_hashing_config(_hashing())  # type: ignore[no-untyped-call]
        config.use_elliptic_key_signer(private_key=self._private_key)
        with full_disk_refused(), NamedTemporaryFile(suffix=".sig") as file:
            config.sign(directory, file.name)
            return Path(file.name).read_bytes()

    def verify_directory(self, directory: Path, signature: bytes) -> None:
        """Hash every file under `directory` again and hold the result against its signature.

        Raises:
            SignatureMismatch: a file was changed, added or taken away, or another key signed.
        """
        from model_signing import verifying  # noqa: PLC0415 - see the module's docstring

        config = verifying.Config().set_hashing_config(_hashing())  # type: ignore[no-untyped-call]
        config.use_elliptic_key_verifier(public_key=self.public_key)
        with full_disk_refused(), NamedTemporaryFile(suffix=".sig") as file:
            file.write(signature)
            file.flush()
            try:
                config.verify(directory, file.name)
            except _UNFIT as error:
                raise SignatureMismatch(str(error) or type(error).__name__) from error


def signed_files(signature: bytes) -> dict[str, str]:
    """The SHA-256 of every file that a signature speaks of, by name; believe it only once the signature is verified.

    Raises:
        SignatureMismatch: it is not a bundle of this kind.
    """
    try:
        statement = json.loads(base64.b64decode(json.loads(signature)["dsseEnvelope"]["payload"]))
        return {each["name"]: each["digest"] for each in statement["predicate"]["resources"]}
    except _UNFIT as error:
        raise SignatureMismatch("it is not a signature bundle") from error


def open_signer(settings: Settings) -> ArtifactSigner:
    """The service's signer; its key is made at the first start, once, even if several replicas start together.

    Raises:
        ValueError: the key file holds something else than an unencrypted elliptic-curve P-256 key in PEM.
    """
    keys = settings.base_path / "keys"
    private_key = settings.signing_key_file or keys / "artifact-signing.pem"
    for directory in (keys, private_key.parent):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not private_key.exists():
        create_whole(private_key, _new_key())
    public_key = keys / "artifact-signing.pub"
    replace_whole(public_key, _public_half(private_key))
    return ArtifactSigner(private_key, public_key)


def _new_key() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _public_half(private_key: Path) -> bytes:
    try:
        key = load_pem_private_key(private_key.read_bytes(), password=None)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{private_key} is not an unencrypted private key in PEM") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ValueError(f"{private_key} is not an elliptic-curve key on P-256")  # noqa: TRY004 - a wrong value
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _hashing() -> "HashingConfig":
    """How files are hashed; new for each call, since verifying a signature changes it."""
    from model_signing import hashing  # noqa: PLC0415 - see the module's docstring

    config = hashing.Config()  # type: ignore[no-untyped-call]
    config.use_file_serialization(hashing_algorithm="sha256")
    return config.set_ignored_paths(paths=(), ignore_git_paths=False)
