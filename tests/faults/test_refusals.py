"""Whatever is refused: the refusal changes nothing and keeps nothing, and the next request on the connection is answered."""

import json
import pickle
import shutil
import tarfile
import tempfile
from pathlib import Path

import httpx
import psutil
import pytest
from sqlalchemy import text

from app.core.database import Database
from app.core.embedded import find_running_url
from app.system.problem_pages import list_problems
from tests.artifacts.making_artifacts import regular, special, tar_of, tar_with, zip_of
from tests.faults.harness import WHOLE, Client, eventually, service
from tests.faults.test_bad_input import HUGE, RAW, House
from tests.faults.test_whole_service import client_of
from tests.real_models import bring_to_production, csv_of, data, instances, register, skops_bytes

PREDICT, FEEDBACK = "/api/models/bc/predict", "/api/models/bc/feedback"
SAMPLE = ("reference.csv", csv_of(data()[0]))
ROW = instances()[0]
MIB, GIB = 1024 * 1024, 1024 * 1024 * 1024
PART = b'--b\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n'
FORM_HEAD = (
    PART % (b"metadata", b"") + b'{"name": "large"}\r\n' + PART % (b"artifact", b'; filename="model.bin"')
)
FORM_TAIL = b"\r\n--b--\r\n"
IDLE = "SELECT NOT EXISTS (SELECT FROM job WHERE state IN ('queued', 'running') AND due_at <= now())"
WITHOUT_REASON = {b"", b"\xef\xbb\xbf{}"}
"""Bodies that a change takes, since its reason may be left out."""


def upload(*artifacts, name="refused", reference=SAMPLE, **metadata):
    parts = [("artifact", artifact) for artifact in artifacts] + [("reference", reference)]
    return (
        "POST",
        "/api/models",
        {"data": {"metadata": json.dumps({"name": name, **metadata})}, "files": parts},
    )


def archive(body, name="model.tar"):
    return upload((name, body))


def good(name="model.skops"):
    return (name, skops_bytes())


def predict(**body):
    return "POST", PREDICT, {"json": body}


def raw(path, body, content_type="application/json"):
    return "POST", path, {"content": body, "headers": {"content-type": content_type}}


def plain(method, path, **options):
    return method, path, options


UPLOADS = {
    "wrong digest": upload(good(), sha256={"model.skops": "0" * 64}),
    "no artifact": upload(),
    "empty artifact": upload(("model.skops", b"")),
    "two artifacts of one name": upload(good(), good()),
    "names equal after case folding": upload(good("Model.skops"), good("model.skops")),
    "names equal after normalising": upload(good("mod\u00e9l.skops"), good("mode\u0301l.skops")),
    "path in a file name": upload(good("../../model.skops")),
    "pickle": upload(("model.pkl", pickle.dumps({"a": 1}))),
    "pickle in disguise": upload(("model.skops", pickle.dumps({"a": 1}))),
    "nothing known": upload(("model.bin", b"\x00" * 1000)),
    "cut off": upload(("model.skops", skops_bytes()[:-100])),
    "way out": archive(tar_of({"../model.skops": skops_bytes()})),
    "absolute path": archive(tar_of({"/tmp/model.skops": skops_bytes()})),
    "symbolic link": archive(tar_with([(special("model.skops", tarfile.SYMTYPE, "/etc/passwd"), b"")])),
    "hard link": archive(tar_with([(special("model.skops", tarfile.LNKTYPE, "/etc/passwd"), b"")])),
    "device": archive(tar_with([(special("model.skops", tarfile.CHRTYPE), b"")])),
    "twice in a tar": archive(tar_with([(regular("m.skops", b"a"), b"a"), (regular("m.skops", b"b"), b"b")])),
    "bomb": archive(zip_of({f"{n}.skops": bytes(64 * MIB) for n in range(3)}), "model.zip"),
    "200,000 entries": archive(zip_of({str(n): b"" for n in range(200_000)}, method=0), "model.zip"),
    "nested archive": archive(tar_of({"model.zip": zip_of({"model.skops": skops_bytes()})})),
    "sample of other columns": upload(good(), reference=("reference.csv", b"a,b\n1,2\n")),
    "sample that is no table": upload(good(), reference=("reference.csv", b"\xff\xfe\x00")),
    "version used before": upload(good(), name="bc", semantic_version="1.0.0"),
    "twin of a name": upload(good(), name="BC"),
    "separator in a name": upload(good(), name="a/b"),
    "reserved name": upload(good(), name="compare"),
    "NUL in a text": upload(good(), description="a\0b"),
    "half a surrogate pair": upload(good(), tags={"a": "\ud800"}),
    "NaN": upload(good(), metrics={"a": float("nan")}),
    "huge description": upload(good(), description=HUGE),
    "unknown member": upload(good(), colour="red"),
    "no form": raw("/api/models", b"--", "multipart/form-data"),
    "form cut off": raw("/api/models", b'--b\r\nContent-Disposition: form-data; name="artifact"; filename="m"\r\n\r\nx', "multipart/form-data; boundary=b"),
}  # fmt: skip
ROWS = {
    "no rows": predict(instances=[]),
    "no body of rows": predict(rows=[ROW]),
    "two forms": predict(instances=[ROW], inputs=[ROW]),
    "missing columns": predict(instances=[{"mean radius": 1}]),
    "extra column": predict(dataframe_split={"columns": ["a"], "data": [[1]]}),
    "short row": predict(instances=[ROW[:-1]]),
    "wrong type": predict(instances=[["x", *ROW[1:]]]),
    "null": predict(instances=[[None, *ROW[1:]]]),
    "rows of unequal length": predict(inputs={"mean radius": [1, 2], "mean texture": [1]}),
    "no such model": plain("POST", "/api/models/nobody/predict", json={"instances": [ROW]}),
    "no such version": plain("POST", "/api/models/bc:99/predict", json={"instances": [ROW]}),
    "no such environment": predict(instances=[ROW], environment="elsewhere"),
    "no such arm": predict(instances=[ROW], arm="nobody"),
    "too many rows": raw(PREDICT, b'{"instances": [' + b"[1]," * 1_000_000 + b"[1]]}"),
    "v2 of a wrong shape": plain("POST", "/v2/models/bc/infer", json={"inputs": [{"name": "x", "shape": [1], "datatype": "FP64", "data": [1, 2]}]}),
    "invocations of nothing": plain("POST", "/invocations?model=bc", json={"params": {}}),
    "invocations of no CSV": raw("/invocations?model=bc", b"\xff\xfe", "text/csv"),
}  # fmt: skip
LABELS = {
    "no items": plain("POST", FEEDBACK, json={"items": []}),
    "no object": plain("POST", FEEDBACK, json=[]),
    "unknown member": plain("POST", FEEDBACK, json={"labels": []}),
}  # fmt: skip
CHANGES = {
    "promote what serves": plain("POST", "/api/models/bc:1/promote", json={}),
    "promote a bare name": plain("POST", "/api/models/bc/promote", json={}),
    "nothing to roll back to": plain("POST", "/api/models/bc/rollback", json={}),
    "route seen before": plain("PUT", "/api/models/bc/route", json={"arms": [{"version": 1, "weight": 1}]}, headers={"if-match": '"99"'}),
    "weights of nothing": plain("PUT", "/api/models/bc/route", json={"arms": [{"version": 1, "weight": 0}]}),
    "delete what serves": plain("DELETE", "/api/models/bc:1"),
    "alias that is reserved": plain("PUT", "/api/models/bc/aliases/latest", json={"version": 1}),
    "edit a member that is none": plain("PATCH", "/api/models/bc", json={"colour": "red"}),
    "key of no role": plain("POST", "/api/system/keys", json={"name": "k", "role": "king"}),
    "idempotency key that is none": plain("PATCH", "/api/models/bc", json={"description": "x"}, headers={"idempotency-key": "\x7f" * 300}),
}  # fmt: skip
DOORS = {
    "unknown path": plain("GET", "/api/nothing"),
    "unknown method": plain("PUT", "/api/models", json={}),
    "forged cursor": plain("GET", "/api/models?cursor=Zm9yZ2Vk"),
    "cursor of 1 MB": plain("GET", f"/api/models?cursor={'x' * 60_000}"),
    "page of too many": plain("GET", "/api/models?limit=100000"),
    "filter that is SQL": plain("GET", "/api/models?metric=1%3D1;--"),
    "NUL in the address": plain("GET", "/api/models/a%00b"),
    "unknown key": plain("GET", "/api/models", headers={"authorization": "Bearer sy_00000000_" + "0" * 64}),
    "malformed key": plain("GET", "/api/models", headers={"authorization": b"Bearer \x80"}),
    "foreign host": plain("GET", "/api/models", headers={"host": "evil.example"}),
    "another site": plain("PATCH", "/api/models/bc", json={"description": "x"}, headers={"origin": "https://evil.example"}),
}  # fmt: skip
TEXTS = {
    f"{path} {body[:20]!r}": raw(path, body)
    for path in ("/api/models/bc:2/validate", PREDICT, FEEDBACK)
    for body in RAW
    if not (path.endswith("validate") and body in WITHOUT_REASON)
}
REFUSED = {**UPLOADS, **ROWS, **LABELS, **CHANGES, **DOORS, **TEXTS}


def on_the_wire(method, path, options):
    """A request as its bytes."""
    request = httpx.Request(method, f"http://localhost{path}", **options)
    body = request.read()
    target = request.url.raw_path
    head = [b"%s %s HTTP/1.1" % (method.encode(), target)]
    head += [b"%s: %s" % (name, value) for name, value in request.headers.raw]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


class Running(House):
    """A whole service, what its database and its disk hold, and how much memory it has."""

    def __init__(self, running, base_path, database):
        super().__init__(None, database)
        self.running, self.base_path = running, base_path

    async def reacted(self):
        """Whether all that follows has followed, conversions and the first upkeep too: they leave files."""
        async with self.database.reads() as session:
            return await session.scalar(text(IDLE)) and await super().reacted()

    def files(self):
        """Everything on disk but what the database, the spool, the counters and the log keep for themselves."""
        own = {"postgres", "spool", "metrics"}
        found = (path.relative_to(self.base_path) for path in self.base_path.rglob("*"))
        return {path for path in found if path.parts[0] not in own and not path.name.startswith("log-")}

    async def contents(self):
        """All but the log of predictions: rows that a model does not take are on record there."""
        return {row for row in await super().contents() if row[0] not in {"prediction", "spool_position"}}

    async def holdings(self):
        return await self.contents(), self.files()

    def memory_mib(self):
        [server] = self.running.children("app.server")
        return psutil.Process(server.pid).memory_info().rss / MIB


@pytest.fixture(scope="module")
async def house():
    base_path = Path(tempfile.mkdtemp(prefix="switchyard-"))
    with service(base_path, command=WHOLE, database=None) as running:
        async with client_of(running) as client:
            await bring_to_production(client, "bc")
            assert (await register(client, "bc", seed=1)).status_code == 201
            await predict_once(client)
        database = Database(find_running_url(base_path))
        house = Running(running, base_path, database)
        await eventually(house.reacted, within=60)
        yield house
        await database.close()
    shutil.rmtree(base_path)


async def predict_once(client):
    """A prediction that has reached the log, so that nothing is on its way there any more."""
    answer = (await client.post(PREDICT, json={"instances": [ROW]})).json()
    logged = f"/api/models/bc/predictions/{answer['predictions'][0]['prediction_id']}"

    async def is_logged():
        return (await client.get(logged)).status_code == 200

    await eventually(is_logged)


async def refusal_of(house, request):
    """The status of a refusal, after which the same connection answers, unless the refusal said that it closes."""
    async with Client(house.running.port) as client:
        await client.send(on_the_wire(*request))
        status, headers, document = await client.read_answer()
        if headers.get("connection") == "close":
            await client.close()
        following, _, model = await client.request("/api/models/bc")
    assert (following, model["name"]) == (200, "bc")
    if "type" in document:
        assert document["type"].removeprefix("/problems/") in list_problems()
    assert headers["content-type"] in {"application/problem+json", "application/json"}
    assert document.get("title") or document.get("error") or document.get("message")
    return status


@pytest.mark.parametrize("request_", REFUSED.values(), ids=REFUSED)
async def test_a_refusal_changes_nothing_and_the_connection_goes_on(house, request_):
    before = await house.holdings()
    assert 400 <= await refusal_of(house, request_) < 500
    assert await house.holdings() == before


async def test_refusals_give_their_memory_back(house):
    largest = [
        UPLOADS["bomb"],
        UPLOADS["200,000 entries"],
        UPLOADS["huge description"],
        ROWS["too many rows"],
    ]
    for request in largest:
        await refusal_of(house, request)
    before = house.memory_mib()
    for _ in range(3):
        for request in largest:
            await refusal_of(house, request)
    assert house.memory_mib() < before + 32


@pytest.mark.faults
async def test_an_upload_of_a_gibibyte_takes_no_more_memory_than_one_of_a_mebibyte(house):
    """What is sent is no model, so that it is the way in alone that is measured."""
    before, highest = house.memory_mib(), 0.0
    async with Client(house.running.port) as client:
        await client.send(
            b"POST /api/models HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"
            b"Content-Length: %d\r\n\r\n" % (len(FORM_HEAD) + GIB + len(FORM_TAIL))
        )
        await client.send(FORM_HEAD)
        for _ in range(GIB // MIB):
            await client.send(bytes(MIB))
            highest = max(highest, house.memory_mib())
        await client.send(FORM_TAIL)
        status, _, document = await client.read_answer()
    assert (status, document["type"]) == (422, "/problems/unknown-format")
    assert highest < before + 64
