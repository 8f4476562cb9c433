"""What webhooks are signed with (Standard Webhooks): a secret, and for a time after its renewal the earlier one beside it."""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

SECRET_PREFIX = "whsec_"  # noqa: S105 - what secrets of Standard Webhooks begin with
SECRET_BYTES = 32  # Standard Webhooks: between 24 and 64


def new_secret() -> str:
    """A fresh signing secret, as Standard Webhooks writes it."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def sign(secret: str, message_id: str, stamp: int, content: bytes) -> str:
    """The `webhook-signature` of a message (Standard Webhooks, "Signature scheme": `v1`, HMAC-SHA256).

    >>> sign("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE='
    """
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    signed = f"{message_id}.{stamp}.".encode() + content
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def signing_secrets(particulars: Mapping[str, Any], at: int) -> list[str]:
    """What a webhook's messages are signed with at a moment, in seconds since 1970: its secret first.

    >>> signing_secrets({"secret": "new", "earlier": [{"secret": "old", "until": 100}]}, at=99)
    ['new', 'old']
    >>> signing_secrets({"secret": "new", "earlier": [{"secret": "old", "until": 100}]}, at=100)
    ['new']
    """
    return [particulars["secret"], *(each["secret"] for each in still_signing(particulars, at))]


def still_signing(particulars: Mapping[str, Any], at: int) -> Sequence[Mapping[str, Any]]:
    """A webhook's earlier secrets that sign beside the present one, each with the moment at which it ends."""
    return [each for each in particulars.get("earlier", ()) if each["until"] > at]


def with_secret(particulars: Mapping[str, Any], secret: str, *, at: int, until: int) -> dict[str, Any]:
    """A webhook's particulars with another secret, beside which the present one and those before it sign until then.

    >>> with_secret({"url": "u", "secret": "old"}, "new", at=50, until=100)
    {'url': 'u', 'secret': 'new', 'earlier': [{'secret': 'old', 'until': 100}]}
    >>> with_secret({"url": "u", "secret": "leaked", "earlier": [{"secret": "old", "until": 90}]}, "new", at=50, until=50)
    {'url': 'u', 'secret': 'new', 'earlier': []}
    """
    before = [*still_signing(particulars, at), {"secret": particulars["secret"], "until": until}]
    ending = [each | {"until": min(each["until"], until)} for each in map(dict, before)]
    return {**particulars, "secret": secret, "earlier": still_signing({"earlier": ending}, at)}
