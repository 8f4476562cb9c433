"""Object stores by URL (R12): S3 against a local server; Google Cloud Storage and Azure as far as no network is needed."""

import asyncio
import os
import socket

import boto3
import pytest
from moto.server import ThreadedMotoServer
from obstore.store import AzureStore, GCSStore, S3Store

from app.artifacts.buckets import open_bucket
from app.artifacts.cache import ArtifactCache
from app.artifacts.errors import BlobNotFound, CorruptArtifact, StorageUnavailable
from app.artifacts.manifests import store_artifact
from app.artifacts.signing import open_signer
from app.artifacts.store import open_artifact_store
from app.core.config import MIB, Settings
from tests.artifacts.making_artifacts import GREETING, read, sha256, staged_files

KEYS = {"access_key_id": "testing", "secret_access_key": "testing", "region": "us-east-1"}


@pytest.fixture(scope="module")
def endpoint():
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(endpoint):
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )
    name = f"models-{os.urandom(4).hex()}"
    client.create_bucket(Bucket=name)
    yield client, name
    client.close()


@pytest.fixture
def settings(tmp_path, endpoint, bucket):
    return Settings(
        base_path=tmp_path,
        artifact_bucket=f"s3://{bucket[1]}/team",
        artifact_options={
            **KEYS,
            "endpoint": endpoint,
            "allow_http": "true",
            "virtual_hosted_style_request": "false",
        },
    )


@pytest.fixture
def store(settings):
    return open_artifact_store(settings)


@pytest.mark.parametrize("size", [0, 100, 12 * MIB])
async def test_s3_keeps_a_blob_under_its_digest(tmp_path, store, bucket, size):
    client, name = bucket
    body = os.urandom(size)
    [file] = staged_files(tmp_path, {"weights": body})
    await store.put_file(file.path, file.sha256)
    assert await read(store.open_stream(file.sha256)) == body
    stored = await asyncio.to_thread(client.list_objects_v2, Bucket=name)
    assert [each["Key"] for each in stored["Contents"]] == [f"team/blobs/{file.sha256[:2]}/{file.sha256}"]


async def test_s3_writers_of_the_same_bytes_agree(store):
    digests = await asyncio.gather(*(store.put_bytes(GREETING) for _ in range(8)))
    assert set(digests) == {sha256(GREETING)}
    assert [digest async for digest in store.list_digests()] == [sha256(GREETING)]


async def test_s3_forgets_a_deleted_blob(store):
    digest = await store.put_bytes(GREETING)
    await store.delete(digest)
    await store.delete(digest)
    assert not await store.exists(digest)
    with pytest.raises(BlobNotFound):
        await read(store.open_stream(digest))


async def test_s3_gives_out_no_blob_that_was_changed_behind_our_back(store, bucket):
    client, name = bucket
    digest = await store.put_bytes(GREETING)
    key = f"team/blobs/{digest[:2]}/{digest}"
    await asyncio.to_thread(client.put_object, Bucket=name, Key=key, Body=b"evil")
    with pytest.raises(CorruptArtifact):
        await read(store.open_stream(digest))


async def test_an_encrypted_artifact_on_s3_is_materialised_in_plain(tmp_path, settings):
    key_file = tmp_path / "key"
    key_file.write_bytes(os.urandom(32))
    settings = settings.model_copy(update={"artifact_encryption_key_file": key_file})
    store, signer = open_artifact_store(settings), open_signer(settings)
    bodies = {"MLmodel": b"flavors", "data/weights": os.urandom(2 * MIB)}
    files = tmp_path / "files"
    manifest = await store_artifact(store, staged_files(files, bodies))
    signature = await asyncio.to_thread(signer.sign_directory, files)
    directory = await ArtifactCache(store, signer, tmp_path).materialise(manifest, signature)
    assert {name: (directory / name).read_bytes() for name in bodies} == bodies


async def test_a_store_that_can_not_be_reached_is_unavailable(tmp_path):
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{taken.getsockname()[1]}"
        options = KEYS | {"endpoint": endpoint, "allow_http": "true"}
        store = open_artifact_store(
            Settings(base_path=tmp_path, artifact_bucket="s3://nowhere", artifact_options=options)
        )
        for attempt in (
            store.exists(sha256(b"")),
            store.put_bytes(b""),
            read(store.open_stream(sha256(b""))),
        ):
            with pytest.raises(StorageUnavailable):
                await attempt


@pytest.mark.parametrize(
    ("url", "options", "kind", "config"),
    [
        ("s3://models/team", KEYS, S3Store, {"bucket": "models", "access_key_id": "testing"}),
        (
            "gs://models/team",
            {"skip_signature": "true"},
            GCSStore,
            {"bucket": "models", "skip_signature": "true"},
        ),
        (
            "az://models/team",
            {"account_name": "acme", "account_key": "a2V5"},
            AzureStore,
            {"container_name": "models", "account_name": "acme", "account_key": "a2V5"},
        ),
    ],
)
def test_the_address_chooses_the_store_and_the_options_reach_it(url, options, kind, config):
    bucket = open_bucket(url, options | {"timeout": "5 seconds"})
    assert isinstance(bucket, kind)
    assert config.items() <= bucket.config.items()
    assert bucket.prefix == "team"
    assert bucket.client_options["timeout"] == "5 seconds"


@pytest.mark.parametrize(
    ("url", "options", "problem"),
    [
        ("s3://models", {"colour": "blue"}, "colour"),
        ("az://models", {}, "Account must be specified"),
        ("gs://models", {"service_account": "/nowhere.json"}, "service account"),
        ("ftp://models", {}, "recognise"),
        ("s3://models", {"allow_http": "perhaps"}, "boolean"),
    ],
)
def test_a_wrong_address_or_option_is_told_at_the_start(tmp_path, url, options, problem):
    with pytest.raises(ValueError, match=problem):
        open_artifact_store(Settings(base_path=tmp_path, artifact_bucket=url, artifact_options=options))
