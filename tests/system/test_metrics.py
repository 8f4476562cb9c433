"""M13: what `/metrics` tells, and that dashboard and alert rules ask for nothing else."""

import json
import re
from itertools import product
from pathlib import Path
from uuid import UUID

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from app.alerts.jobs import LOOK
from app.core.config import Settings
from app.core.database import Database
from app.core.ids import new_id
from app.deployments.jobs import ADVANCE
from app.evidence.frames import encode_frame
from app.evidence.profiles import PLAN_PROFILE
from app.monitoring.figures import note_figures
from app.monitoring.jobs import WATCH_ALL
from app.monitoring.kinds import Figure
from app.monitoring.performance.baselines import BASELINE
from app.registry.actions import CONVERT
from app.registry.queries import get_version
from app.system.resources import read_container
from app.worker import SWEEP
from tests.conftest import TESTER, client_of, running, with_database
from tests.evidence.making import open_spool, scored_request
from tests.faults.harness import eventually
from tests.monitoring.making import register
from tests.system.promql import read_query

MONITORING = Path(__file__).parents[2] / "deploy" / "monitoring"
BY_THE_SCRAPE = {"job", "instance"}
IF_THE_KERNEL_TELLS = {"cgroup_memory_bytes", "cgroup_memory_limit_bytes"}
BUILT_IN = {"up"}


async def samples(client):
    """The labels of every sample by its name."""
    answer = await client.get("/metrics")
    assert answer.status_code == 200
    found: dict[str, list[dict[str, str]]] = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append({**sample.labels, "": sample.value})
    return found


@pytest.fixture(scope="module")
async def told(postgres_url, template, tmp_path_factory):
    """What a service tells after it has answered, shipped, been refused and been looked at."""
    from tests.conftest import run_sql, with_database

    await run_sql(postgres_url, "DROP DATABASE IF EXISTS told", f"CREATE DATABASE told TEMPLATE {template}")
    url, directory = with_database(postgres_url, "told"), tmp_path_factory.mktemp("told")
    settings = Settings(database_url=url, base_path=directory, log_level="warning")
    async with running(settings) as service, client_of(service) as client:
        reference, table = await register(client)
        for verb in ("validate", "promote"):
            answer = await client.post(f"/api/models/{reference}/{verb}", json={"reason": "test"})
            assert answer.status_code == 200, answer.text
        name = reference.partition(":")[0]
        await client.post(f"/api/models/{name}/predict", json={"instances": table[:50].tolist()})
        for path in (
            "/api/system/channels",
            "/api/v1/system/channels",
            f"/api/models/{name}/feedback",
            "/version",
        ):
            await client.get(path)
        async with service.state.database.writes(TESTER) as session:
            version = await get_version(session, reference, "production")
            figures = {
                Figure.ACCURACY: 0.9,
                Figure.LABEL_COVERAGE: 0.5,
                Figure.QUALITY_SCORE: 1.0,
                Figure.ESTIMATED_ACCURACY: 0.8,
            }
            figures |= {Figure.DRIFT_SCORE: 0.05, Figure.DRIFT_DETECTED: 0.0}
            await note_figures(session, version.id, "production", figures)

        async def all_told():
            found = await samples(client)
            shipped = found["log_rows_shipped_total"][0][""] >= 50
            return shipped and "model_queue_rows" in found and "model_accuracy" in found

        await eventually(all_told, within=60)
        yield reference, await samples(client)


def queries_of_the_dashboard():
    dashboard = json.loads((MONITORING / "grafana-dashboard.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["definition"]).groups()
            yield variable["name"], f"sum by ({label}) ({metric})"


def queries_of_the_rules():
    groups = yaml.safe_load((MONITORING / "prometheus-rules.yaml").read_text())["groups"]
    return [(rule["alert"], rule["expr"]) for group in groups for rule in group["rules"]]


@pytest.mark.parametrize(
    "title_and_query", [*queries_of_the_dashboard(), *queries_of_the_rules()], ids=lambda q: q[0]
)
async def test_every_query_asks_for_metrics_and_labels_that_are_told(told, title_and_query):
    _, found = told
    for metric, labels in read_query(title_and_query[1]).labels.items():
        if metric in BUILT_IN or (metric in IF_THE_KERNEL_TELLS and metric not in found):
            continue
        assert metric in found, metric
        assert labels <= {*found[metric][0], *BY_THE_SCRAPE}, (metric, labels)


async def test_models_are_told_of_under_the_promised_names(told):
    reference, found = told
    classes = {
        each["prediction_class"]
        for each in found["model_predictions_total"]
        if each["model_version"] == reference
    }
    assert classes == {"0", "1"}
    assert {"": 0.9, "model_version": reference} in found["model_accuracy"]
    assert [
        each[""]
        for each in found["model_prediction_latency_seconds_count"]
        if each["model_version"] == reference
    ] == [1]


async def drifting(client):
    """The versions of which a drift is told."""
    found = await samples(client)
    return {each["model_version"] for each in found.get("model_drift_detected", ())}


async def test_figures_are_told_of_versions_that_a_live_route_names_and_of_no_others(settings):
    async with running(settings) as service, client_of(service) as client:
        first, _ = await register(client)
        name = first.partition(":")[0]
        second, _ = await register(client, name=name)

        async def ask(method, path, status=200, **order):
            answer = await client.request(method, f"/api/models/{path}", json={"reason": "test"} | order)
            assert answer.status_code == status, answer.text

        async def only_told(*references):
            async def are_told():
                return await drifting(client) == set(references)

            await eventually(are_told, within=30)

        for reference in (first, second):
            await ask("POST", f"{reference}/validate")
        await ask("POST", f"{first}/promote")
        async with service.state.database.writes(TESTER) as session:
            for reference in (first, second):
                version = await get_version(session, reference, "production")
                await note_figures(session, version.id, "production", {Figure.DRIFT_DETECTED: 1.0})
        await only_told(first)
        champion = {"name": "champion", "model_id": first, "weight": 1.0}
        shadow = {"model_id": second, "share": 1.0}
        await ask("PUT", f"{name}/route", arms=[champion], shadows=[shadow])
        await only_told(first, second)
        await ask("POST", f"{second}/promote")
        await only_told(second)
        await ask("POST", f"{first}/promote", environment="staging")
        await only_told(second)
        await ask("POST", f"{name}/deprecate")
        await only_told()


async def test_routes_are_told_by_the_addresses_that_the_description_of_the_api_has(told):
    _, found = told
    routes = {each["route"] for each in found["http_requests_total"]}
    assert routes >= {
        "/api/models/{model_id}/predict",
        "/api/models/{model_id}/feedback",
        "/api/system/channels",
        "/version",
    }
    assert not [route for route in routes if route.startswith(("/models", "/system", "/api/v1"))]


async def test_failures_of_jobs_are_counted_from_zero_so_that_the_first_one_is_an_increase(told):
    _, found = told
    counted = {(each["kind"], each["result"]) for each in found["jobs_attempted_total"]}
    results = ("done", "paused", "retried", "failed", "lost")
    assert counted >= set(
        product((ADVANCE, BASELINE, CONVERT, LOOK, PLAN_PROFILE, SWEEP, WATCH_ALL), results)
    )
    for name in ("log_frames_quarantined_total", "log_spool_lost_bytes_total"):
        assert name in found


async def test_the_state_of_the_service_is_told(told):
    _, found = told
    assert found["database_up"] == [{"": 1.0}]
    assert {each["state"] for each in found["jobs"]} == {"queued", "overdue", "running", "failed"}
    assert {each["kind"] for each in found["jobs_attempted_total"]} >= {"plan_profile"}
    assert found["process_resident_memory_bytes"][0][""] > 1_000_000
    assert found["disk_free_bytes"][0][""] <= found["disk_size_bytes"][0][""]


def test_the_dashboard_imports_into_grafana_10():
    dashboard = json.loads((MONITORING / "grafana-dashboard.json").read_text())
    assert dashboard["schemaVersion"] == 39
    assert (
        dashboard["templating"]["list"][0]
        | {"type": "datasource", "query": "prometheus", "name": "datasource"}
        == (dashboard["templating"]["list"][0])
    )
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    sources = {target["datasource"]["uid"] for panel in panels for target in panel.get("targets", ())}
    assert sources == {"${datasource}"}
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells), "panels overlap"
    assert max(x for x, _ in cells) < 24


async def test_while_the_database_is_away_only_what_the_disk_says_is_told(
    service, client, settings, postgres_url
):
    spool = open_spool(settings.base_path / "spool")
    late = encode_frame(scored_request(ids=[UUID(int=new_id().int - (90_000 << 80))]))
    spool.append(late, late)
    whole = service.state.watch.database
    service.state.watch.database = Database(with_database(postgres_url, "none"))

    async def is_away():
        return (await samples(client))["database_up"] == [{"": 0.0}]

    await eventually(is_away, within=30)
    found, parts = await samples(client), (await client.get("/health")).json()["parts"]
    service.state.watch.database = whole
    spool.close()
    assert found["log_spool_bytes"] == [{"": 2.0 * (len(late) + 16)}]
    assert 90 <= found["log_spool_oldest_seconds"][0][""] < 300
    assert found["log_spool_requests"][0][""] >= 0
    assert found["log_pieces_set_aside"] == [{"": 0.0}]
    assert not {"database_latency_seconds", "jobs", "worker_leads", "replicas_live"} & found.keys()
    assert parts["log"]["condition"] == "degraded"
    assert parts["log"]["reason"].startswith("what is logged waits in the spools while the database is away")


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (
            {
                "cgroup.controllers": "cpu memory", "memory.current": "1000", "memory.max": "max",
                "cpu.stat": "usage_usec 2500000\nuser_usec 1", "cpu.max": "50000 100000",
            },
            (1000.0, None, 2.5, 0.5),
        ),
        (
            {
                "memory/memory.usage_in_bytes": "7", "memory/memory.limit_in_bytes": "9223372036854771712",
                "cpuacct/cpuacct.usage": "1000000000", "cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000",
            },
            (7.0, None, 1.0, None),
        ),
        ({}, (None, None, None, None)),
    ],
)  # fmt: skip
def test_a_container_is_told_of_as_far_as_its_kernel_does(tmp_path, files, expected):
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content + "\n")
    seen = read_container(tmp_path)
    assert (seen.memory_bytes, seen.memory_limit_bytes, seen.cpu_seconds, seen.cpu_limit_cores) == expected
