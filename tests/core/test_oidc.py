"""S3: tokens of an identity provider are checked by its public keys; forged, foreign and old ones open nothing."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from datetime import timedelta

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from pydantic_core import to_json
from starlette.datastructures import Headers

from app.core import clock
from app.core.access import Caller, Role
from app.core.authenticate import Authenticator, BadCredentials
from app.core.config import Settings
from app.core.notify import Notifications
from app.core.oidc import BadModelsInToken, IdentityProviderAway, Jwks, NoRoleInToken, TokenVerifier

ISSUER, AUDIENCE = "https://id.example/realm", "switchyard"
RSA_KEY, OTHER_RSA_KEY = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2))
WEAK_RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=1024)
EC_KEY = ec.generate_private_key(ec.SECP256R1())


def jwk(private, key_id, **members):
    algorithm = jwt.algorithms.ECAlgorithm if private is EC_KEY else jwt.algorithms.RSAAlgorithm
    return algorithm.to_jwk(private.public_key(), as_dict=True) | {"kid": key_id} | members


def token(private=RSA_KEY, algorithm="RS256", key_id="one", **claims):
    body = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ada", "exp": time.time() + 300, "roles": ["operator"]}
    body = {name: value for name, value in (body | claims).items() if value is not None}
    header = {} if key_id is None else {"kid": key_id}
    return jwt.encode(body, private, algorithm, headers=header).encode()


def part(value):
    return base64.urlsafe_b64encode(value).rstrip(b"=")


def forged(header, sign):
    """A token with any header, signed in any way."""
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "eve", "exp": time.time() + 300, "roles": ["admin"]}
    signed = part(to_json(header)) + b"." + part(to_json(claims))
    return signed + b"." + part(sign(signed))


class Provider:
    """An identity provider's key address, on a real socket."""

    def __init__(self):
        self.keys = [jwk(RSA_KEY, "one"), jwk(EC_KEY, "two")]
        self.status, self.requests = 200, 0

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/keys"
        return self

    async def __aexit__(self, *_):
        self._server.close()
        await self._server.wait_closed()

    async def _answer(self, reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        self.requests += 1
        body = json.dumps({"keys": self.keys}).encode()
        head = f"HTTP/1.1 {self.status} X\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()


@pytest.fixture
async def provider():
    async with Provider() as provider:
        yield provider


def settings_for(source, **others):
    return Settings(oidc_issuer=ISSUER, oidc_audience=AUDIENCE, oidc_jwks=str(source), **others)


@pytest.fixture
async def verifier(provider):
    async with TokenVerifier(settings_for(provider.url)) as verifier:
        yield verifier


@pytest.mark.parametrize(
    ("private", "algorithm", "key_id"), [(RSA_KEY, "RS256", "one"), (EC_KEY, "ES256", "two")]
)
async def test_a_token_of_the_provider_makes_a_caller(verifier, private, algorithm, key_id):
    given = token(private, algorithm, key_id)
    assert verifier.find_caller(given) is None
    caller = await verifier.verify(given)
    assert caller == Caller("oidc:ada", Role.OPERATOR)
    assert verifier.find_caller(given) == caller


def _soon(seconds):
    return time.time() + seconds


FORGED = {
    "no signature": lambda: forged({"alg": "none", "kid": "one"}, lambda signed: b""),
    "no algorithm": lambda: forged({"kid": "one"}, lambda signed: b""),
    "the public key as an HMAC secret": lambda: forged(
        {"alg": "HS256", "kid": "one"},
        lambda signed: hmac.digest(
            RSA_KEY.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            ),
            signed,
            hashlib.sha256,
        ),
    ),
    "another's key": lambda: token(OTHER_RSA_KEY),
    "another algorithm of the same key": lambda: token(algorithm="RS512"),
    "a key of the other kind": lambda: token(key_id="two"),
    "an unknown key": lambda: token(OTHER_RSA_KEY, key_id="three"),
    "no key id among several keys": lambda: token(key_id=None),
    "a key id that is no text": lambda: forged({"alg": "RS256", "kid": ["one"]}, lambda signed: b"x"),
    "another audience": lambda: token(aud="another"),
    "no audience": lambda: token(aud=None),
    "another issuer": lambda: token(iss="https://id.example/realm/"),
    "no issuer": lambda: token(iss=None),
    "no end": lambda: token(exp=None),
    "an old one": lambda: token(exp=_soon(-60)),
    "one of the future": lambda: token(nbf=_soon(60)),
    "no subject": lambda: token(sub=None),
    "a subject that can't be stored": lambda: token(sub="a\0b"),
    "text": lambda: b"a.b.c",
    "nothing": lambda: b"",
    "bytes": lambda: b"\xff.\xff.\xff",
    "a deep header": lambda: part(b'{"alg":' + b"[" * 100_000) + b".e30.e30",
}


@pytest.mark.parametrize("make", FORGED.values(), ids=FORGED.keys())
async def test_a_token_is_refused_for(verifier, make):
    given = make()
    assert await verifier.verify(given) is None
    assert verifier.find_caller(given) is None


async def test_clocks_may_differ_by_half_a_minute(verifier):
    assert await verifier.verify(token(exp=_soon(-20), nbf=_soon(20)))


async def test_a_weak_key_verifies_nothing(provider, verifier):
    provider.keys = [jwk(WEAK_RSA_KEY, "one")]
    with pytest.warns(jwt.InsecureKeyLengthWarning):
        given = token(WEAK_RSA_KEY)
    assert await verifier.verify(given) is None


@pytest.mark.parametrize("members", [{"use": "enc"}, {"alg": "RS512"}, {"alg": "HS256"}])
async def test_a_key_meant_for_something_else_verifies_nothing(provider, verifier, members):
    provider.keys = [jwk(RSA_KEY, "one", **members), jwk(EC_KEY, "two")]
    assert await verifier.verify(token()) is None


@pytest.mark.parametrize(
    ("claim", "role"),
    [("admin", Role.ADMIN), ("staff viewer", Role.VIEWER), (["caller", "viewer", "x", 1, {}], Role.CALLER)],
)
async def test_the_highest_role_that_is_named_counts(provider, claim, role):
    async with TokenVerifier(settings_for(provider.url, oidc_role_claim="https://us/roles")) as verifier:
        caller = await verifier.verify(token(**{"roles": None, "https://us/roles": claim}))
    assert caller.role is role


@pytest.mark.parametrize("claim", [None, [], "staff", ["Admin"], 4, {"admin": True}])
async def test_a_token_without_a_role_is_refused_with_the_reason(verifier, claim):
    with pytest.raises(NoRoleInToken, match="claim 'roles' names none of viewer, caller, operator, admin"):
        await verifier.verify(token(roles=claim))


async def test_a_token_can_be_limited_to_models(verifier):
    assert (await verifier.verify(token(models=["churn-*", "fraud"]))).models == ("churn-*", "fraud")
    assert (await verifier.verify(token(models="churn-*"))).models == ("churn-*",)
    assert (await verifier.verify(token(models=[]))).models == ()
    for unreadable in ({"churn": True}, [1], 7):
        with pytest.raises(BadModelsInToken):
            await verifier.verify(token(models=unreadable))


async def test_a_remembered_token_is_checked_again_after_a_minute_and_never_outlives_itself(
    verifier, monkeypatch
):
    long, short = token(), token(exp=_soon(30))
    for given in (long, short):
        await verifier.verify(given)
    began = clock.now()
    monkeypatch.setattr(clock, "now", lambda: began + timedelta(seconds=40))
    assert verifier.find_caller(long)
    assert verifier.find_caller(short) is None
    monkeypatch.setattr(clock, "now", lambda: began + timedelta(seconds=61))
    assert verifier.find_caller(long) is None


async def test_unknown_keys_are_asked_for_once_a_minute_however_many_tokens_come(
    provider, verifier, monkeypatch
):
    await verifier.verify(token())
    assert provider.requests == 1
    strangers = [verifier.verify(token(OTHER_RSA_KEY, key_id=f"unknown-{i}")) for i in range(50)]
    assert set(await asyncio.gather(*strangers)) == {None}
    assert provider.requests == 1

    provider.keys = [jwk(OTHER_RSA_KEY, "new"), jwk(EC_KEY, "two")]
    later = clock.now() + timedelta(seconds=61)
    monkeypatch.setattr(clock, "now", lambda: later)
    fresh = [verifier.verify(token(OTHER_RSA_KEY, key_id="new")) for _ in range(50)]
    assert len({caller.name for caller in await asyncio.gather(*fresh)}) == 1
    assert provider.requests == 2
    assert await verifier.verify(token(key_id="one")) is None


@pytest.mark.parametrize("trouble", ["status", "keys", "text"])
async def test_known_keys_go_on_counting_while_the_provider_is_in_trouble(
    provider, verifier, monkeypatch, trouble
):
    await verifier.verify(token())
    if trouble == "status":
        provider.status = 500
    else:
        provider.keys = [] if trouble == "keys" else "nonsense"
    later = clock.now() + timedelta(seconds=61)
    monkeypatch.setattr(clock, "now", lambda: later)
    assert await verifier.verify(token(OTHER_RSA_KEY, key_id="new")) is None
    assert provider.requests == 2
    assert await verifier.verify(token())


async def test_before_the_first_keys_came_nothing_can_be_said_and_a_retry_comes_soon(
    provider, verifier, monkeypatch
):
    provider.status = 503
    with pytest.raises(IdentityProviderAway):
        await verifier.verify(token())
    provider.status = 200
    later = clock.now() + timedelta(seconds=6)
    monkeypatch.setattr(clock, "now", lambda: later)
    assert await verifier.verify(token())


async def test_keys_can_come_from_a_file_and_a_lone_key_needs_no_id(tmp_path):
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps({"keys": [jwk(RSA_KEY, "one"), {"kty": "unheard-of"}, "text"]}))
    async with TokenVerifier(settings_for(file)) as verifier:
        assert await verifier.verify(token(key_id=None))


@pytest.mark.parametrize(
    "source", ["http://id.example/keys", "ftp://id.example/keys", "http://127.0.0.1.example/"]
)
def test_keys_do_not_travel_unencrypted(source):
    with pytest.raises(ValueError, match="https"):
        Jwks(source)


async def test_the_authenticator_takes_tokens_beside_keys(provider, database):
    notifications = Notifications(database.url)
    async with Authenticator(settings_for(provider.url), database, notifications) as authenticate:
        header = b"Bearer " + token()
        assert authenticate.known(header) is None
        assert (await authenticate(Headers(raw=[(b"authorization", header)]))).name == "oidc:ada"
        assert authenticate.known(header).name == "oidc:ada"
        with pytest.raises(BadCredentials):
            await authenticate({"authorization": "Bearer a.b.c"})
