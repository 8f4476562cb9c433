"""Signatures over artifacts (R12, R13): changed, added, missing files; foreign keys; several replicas' first start."""

import json
import threading

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from app.artifacts.errors import SignatureMismatch
from app.artifacts.signing import open_signer, signed_files
from app.core.config import Settings


@pytest.fixture
def signer(tmp_path):
    return open_signer(Settings(base_path=tmp_path / "base"))


@pytest.fixture
def model(tmp_path):
    directory = tmp_path / "model"
    (directory / "data").mkdir(parents=True)
    (directory / "MLmodel").write_bytes(b"flavors")
    (directory / "data" / "weights").write_bytes(b"\1" * 10_000)
    (directory / ".gitignore").write_bytes(b"*")
    return directory


def test_an_untouched_directory_verifies_and_the_signature_names_its_files(signer, model):
    signature = signer.sign_directory(model)
    signer.verify_directory(model, signature)
    assert set(signed_files(signature)) == {"MLmodel", "data/weights", ".gitignore"}


def test_a_moved_directory_still_verifies(signer, model, tmp_path):
    signature = signer.sign_directory(model)
    signer.verify_directory(model.rename(tmp_path / "elsewhere"), signature)


@pytest.mark.parametrize(
    "damage",
    [
        lambda model: (model / "MLmodel").write_bytes(b"flavorz"),
        lambda model: (model / ".gitignore").write_bytes(b"!"),
        lambda model: (model / "extra.py").write_bytes(b"print()"),
        lambda model: (model / ".git").mkdir() or (model / ".git" / "hook").write_bytes(b"x"),
        lambda model: (model / "data" / "weights").unlink(),
        lambda model: (model / "MLmodel").rename(model / "mlmodel"),
        lambda model: (model / "link").symlink_to("/etc/passwd"),
    ],
)
def test_a_directory_that_was_touched_does_not_verify(signer, model, damage):
    signature = signer.sign_directory(model)
    damage(model)
    with pytest.raises(SignatureMismatch):
        signer.verify_directory(model, signature)


def test_another_services_signature_does_not_verify(signer, model, tmp_path):
    other = open_signer(Settings(base_path=tmp_path / "other"))
    with pytest.raises(SignatureMismatch, match="public key"):
        signer.verify_directory(model, other.sign_directory(model))


def forged(change):
    def forge(signature):
        bundle = json.loads(signature)
        change(bundle)
        return json.dumps(bundle).encode()

    return forge


@pytest.mark.parametrize(
    "forge",
    [
        lambda _: b"",
        lambda _: b"\xff\xfe",
        lambda _: b"{}",
        lambda _: b"[]",
        lambda signature: signature[:-20],
        forged(lambda bundle: bundle.pop("verificationMaterial")),
        forged(lambda bundle: bundle["verificationMaterial"].pop("publicKey")),
        forged(lambda bundle: bundle["dsseEnvelope"].update(payload="e30=")),
        forged(lambda bundle: bundle["dsseEnvelope"].update(signatures=[])),
        forged(lambda bundle: bundle["dsseEnvelope"]["signatures"][0].update(sig="AAAA")),
    ],
)
def test_a_forged_or_broken_signature_is_a_mismatch_and_nothing_else(signer, model, forge):
    with pytest.raises(SignatureMismatch):
        signer.verify_directory(model, forge(signer.sign_directory(model)))


@pytest.mark.parametrize("signature", [b"", b"{}", b"[]", b'{"dsseEnvelope":{"payload":"!"}}', b"null"])
def test_what_is_no_bundle_names_no_files(signature):
    with pytest.raises(SignatureMismatch):
        signed_files(signature)


def test_the_key_is_private_and_outlives_the_process(tmp_path, model):
    settings = Settings(base_path=tmp_path)
    signature = open_signer(settings).sign_directory(model)
    assert (tmp_path / "keys" / "artifact-signing.pem").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700
    open_signer(settings).verify_directory(model, signature)


def test_replicas_that_start_together_share_one_key(tmp_path, model):
    settings = Settings(base_path=tmp_path)
    signers, barrier = [], threading.Barrier(8)

    def start():
        barrier.wait()
        signers.append(open_signer(settings))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(signers) == 8
    signature = signers[0].sign_directory(model)
    for signer in signers:
        signer.verify_directory(model, signature)
    assert sorted(file.name for file in (tmp_path / "keys").iterdir()) == [
        "artifact-signing.pem",
        "artifact-signing.pub",
    ]


def pem(key):
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def test_the_operators_own_key_is_used_and_its_change_is_noticed(tmp_path, model):
    key_file = tmp_path / "own.pem"
    settings = Settings(base_path=tmp_path, signing_key_file=key_file)
    key_file.write_bytes(pem(ec.generate_private_key(ec.SECP256R1())))
    signature = open_signer(settings).sign_directory(model)
    key_file.write_bytes(pem(ec.generate_private_key(ec.SECP256R1())))
    with pytest.raises(SignatureMismatch):
        open_signer(settings).verify_directory(model, signature)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a key",
        pem(rsa.generate_private_key(65537, 2048)),
        pem(ec.generate_private_key(ec.SECP384R1())),
    ],
)
def test_a_key_file_with_anything_but_a_p256_key_is_refused_at_the_start(tmp_path, content):
    (tmp_path / "own.pem").write_bytes(content)
    with pytest.raises(ValueError, match=r"own\.pem"):
        open_signer(Settings(base_path=tmp_path, signing_key_file=tmp_path / "own.pem"))
