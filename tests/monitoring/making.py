"""A registered model of four columns with its sample, and the plan of a made-up version."""

import io
import json

import numpy as np
import skops.io
from sklearn.linear_model import LogisticRegression

from app.core import clock
from app.core.ids import new_id
from app.evidence.rules import ReferenceKind
from app.evidence.tables import ProfilePlan
from app.runtimes.profiles import Answered, Plan, make_plan
from app.runtimes.row_order import row_order
from app.runtimes.schema import Signature
from tests.conftest import TESTER
from tests.faults.harness import eventually

COLUMNS = 4


async def register(client, *, with_sample: bool = True, name: str | None = None):
    """The reference of a model's new version, once its sample is profiled, and rows distributed as the sample."""
    generator = np.random.default_rng(3)
    table = generator.normal(size=(6000, COLUMNS)).round(4)
    model = LogisticRegression().fit(table, (table.sum(axis=1) > 0).astype(int))
    artifact = io.BytesIO(skops.io.dumps(model))
    files = [("artifact", ("model.skops", artifact.getvalue()))]
    if with_sample:
        lines = [
            ",".join(f"x{i}" for i in range(COLUMNS)),
            *(",".join(map(str, row)) for row in table[:4000]),
        ]
        files.append(("reference", ("sample.csv", "\n".join(lines).encode())))
    metadata = json.dumps({"name": name or f"m-{new_id().hex}"})
    answer = await client.post("/api/models", data={"metadata": metadata}, files=files)
    assert answer.status_code == 201, answer.text
    reference = answer.json()["model_id"]
    if with_sample:
        await profiled(client, reference)
    return reference, table[4000:]


async def profiled(client, reference: str) -> None:
    """Return once the worker has made the version's plan: the check is refused with 409 until then."""

    async def is_there():
        return (await client.post(f"/api/models/{reference}/drift-check", json={})).status_code != 409

    await eventually(is_there, within=60)


async def plan_of(database, version, *, in_time=True, table=None, seconds=None) -> Plan:
    """The plan of a version with two columns, as its job would have made it of a table's rows in this order."""
    generator = np.random.default_rng(4)
    answered = Answered(list(generator.normal(size=(2, 5000)) if table is None else table))
    plan = make_plan(Signature.from_json(version.signature), answered)
    profile = plan.reference(answered)
    times = np.arange(answered.count) if in_time and seconds is None else seconds
    order = row_order(plan, profile, answered, times).to_json()
    row = ProfilePlan(
        version_id=version.id, kind=ReferenceKind.SAMPLE, rows=answered.count, made_at=clock.now()
    )
    row.columns, row.sections, row.row_order = plan.to_json(), profile.to_bytes(), order
    async with database.writes(TESTER) as session:
        session.add(row)
    return plan
