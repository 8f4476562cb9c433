"""Addresses and secrets of channels at rest: encrypted under a key that is not in the database."""

import base64
import os
from collections.abc import Mapping
from typing import Any

from pydantic_core import from_json, to_json

from app.artifacts.disk import create_whole
from app.artifacts.encryption import HEADER_BYTES, KEY_BYTES, Keyring
from app.core.config import Settings


class Vault:
    """Seals what a channel needs to know, and opens it again to send."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    def seal(self, particulars: Mapping[str, Any]) -> bytes:
        """What may be stored of these particulars."""
        sealer = self._keyring.sealer()
        return sealer.header + sealer.update(to_json(particulars)) + sealer.finish()

    def can_open(self, sealed: bytes) -> bool:
        """Whether what begins like this was sealed under a key of this service."""
        return self._keyring.holds_key_of(sealed[:HEADER_BYTES])

    def unseal(self, sealed: bytes) -> dict[str, Any]:
        """The particulars that were sealed.

        Raises:
            UnknownKeyError: under a key that this service does not have.
            TamperedError: and changed since.
        """
        unsealer = self._keyring.unsealer(sealed[:HEADER_BYTES])
        opened: dict[str, Any] = from_json(unsealer.update(sealed[HEADER_BYTES:]) + unsealer.finish())
        return opened


def open_vault(settings: Settings) -> Vault:
    """The service's vault; its key is made at the first start, once, even if several replicas start together.

    Raises:
        ValueError: the key file holds no key.
    """
    path = settings.channel_key_file or settings.base_path / "keys" / "alert-channels.key"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        create_whole(path, base64.b64encode(os.urandom(KEY_BYTES)))
    return Vault(Keyring.from_file(path))
