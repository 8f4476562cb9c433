"""R5, D2: promote, roll back and read, by many at once, behave as if they came one after the other."""

import asyncio
import time
from itertools import cycle

import pytest

from tests.faults.histories import Operation, violations
from tests.faults.houses import open_house
from tests.real_models import instances, register

ENOUGH_WRITES, MOST_SECONDS = 6, 15.0
VERSIONS = ("bc:1", "bc:2", "bc:3")


@pytest.fixture(scope="module")
async def client(postgres_url, template, tmp_path_factory):
    directory = tmp_path_factory.mktemp("linear")
    async with open_house(postgres_url, template, directory, "linear") as (_, client, _):
        for seed, reference in enumerate(VERSIONS):
            assert (await register(client, "bc", seed=seed)).json()["model_id"] == reference
            assert (await client.post(f"/api/models/{reference}/validate", json={})).status_code == 200
        answers = await asyncio.gather(*(promote(client, VERSIONS[0]) for _ in range(32)))
        yield client, [answer.status_code for answer in answers]


def promote(client, reference, **headers):
    return client.post(f"/api/models/{reference}/promote", json={}, headers=headers)


class Recorder:
    """What clients did to one model, and when."""

    def __init__(self, client):
        self.client, self.history, self.refused, self.answers = client, [], [], set()
        self._began, self._writes = time.monotonic(), 0

    @property
    def goes_on(self):
        return self._writes < ENOUGH_WRITES and time.monotonic() < self._began + MOST_SECONDS

    async def change(self, choose):
        """Promote or roll back, again and again; a change that is refused has not happened."""
        while self.goes_on:
            began = time.monotonic()
            answer = await choose()
            if answer.status_code == 200:
                body = answer.json()
                self._keep(True, began, body["revision"], body["model_id"])
            else:
                self.refused.append(answer.status_code)
            await asyncio.sleep(0.01)

    async def read(self):
        while self.goes_on:
            began = time.monotonic()
            body = (await self.client.get("/api/models/bc/route")).json()
            self._keep(False, began, body["revision"], body["arms"][0]["model_id"])
            await asyncio.sleep(0.01)

    async def predict(self):
        body = {"instances": instances(3)}
        while self.goes_on:
            answer = await self.client.post("/api/models/bc/predict", json=body)
            assert answer.status_code == 200, answer.text
            self.answers.add((answer.json()["revision"], answer.json()["model_id"]))
            await asyncio.sleep(0.01)

    def _keep(self, is_write, began, revision, version):
        self._writes += is_write
        self.history.append(Operation(is_write, began, time.monotonic(), revision, version))


async def test_of_32_promoters_of_one_version_at_once_exactly_one_wins(client):
    _, statuses = client
    assert statuses.count(200) == 1
    assert set(statuses) <= {200, 409, 412}


async def test_a_history_of_promotes_rollbacks_and_reads_is_linearizable_and_no_prediction_fails(client):
    client, _ = client
    recorder = Recorder(client)

    def promoter(turn):
        references = cycle(VERSIONS[turn:] + VERSIONS[:turn])
        return lambda: promote(client, next(references))

    async with asyncio.TaskGroup() as group:
        for turn in range(3):
            group.create_task(recorder.change(promoter(turn)))
        group.create_task(recorder.change(lambda: client.post("/api/models/bc/rollback", json={})))
        for work in (recorder.read, recorder.read, recorder.predict, recorder.predict):
            group.create_task(work())
    writes = {each.revision: each.version for each in recorder.history if each.is_write}
    assert len(writes) > 1
    assert set(recorder.refused) <= {409, 412}
    assert [*violations(recorder.history)] == []
    assert len({revision for revision, _ in recorder.answers}) > 1
    assert all(writes.get(revision, version) == version for revision, version in recorder.answers)


async def test_of_changes_that_have_seen_the_same_revision_one_happens(client):
    client, _ = client
    route = await client.get("/api/models/bc/route")
    others = [each for each in VERSIONS if each != route.json()["arms"][0]["model_id"]]
    headers = {"If-Match": route.headers["etag"]}
    answers = [await promote(client, reference, **headers) for reference in others]
    assert [answer.status_code for answer in answers] == [200, 412]
    assert answers[1].json()["current"] == answers[0].json()["revision"]


GOOD = (Operation(True, 0, 2, 1, "a"), Operation(False, 1, 3, 1, "a"), Operation(True, 3, 4, 2, "b"))


@pytest.mark.parametrize(
    "wrong",
    [
        Operation(False, 5, 6, 1, "a"),
        Operation(True, 5, 6, 2, "b"),
        Operation(True, 5, 6, 4, "c"),
        Operation(False, 5, 6, 2, "a"),
        Operation(False, 1, 2, 2, "b"),
    ],
)
def test_the_checker_finds_a_stale_read_a_lost_write_a_gap_a_mixture_and_a_read_of_the_future(wrong):
    assert [*violations(GOOD)] == []
    assert [*violations([*GOOD, wrong])] != []
