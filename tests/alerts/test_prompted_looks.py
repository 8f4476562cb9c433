"""M12: what a monitor announces is told when it is announced, and rows of values stay as long as they were."""

import pytest

from app.alerts.deliveries import QUEUE
from app.alerts.jobs import LOOK, queue_looks
from app.core.facts import announce
from app.core.jobs import claim_job, run_claim
from app.monitoring.facts import (
    DriftDetected,
    DriftEnded,
    EstimatedPerformanceDropped,
    EstimatedPerformanceRecovered,
    PerformanceDropped,
    PerformanceRecovered,
    RegimeChanged,
)
from tests.conftest import TESTER

WHERE = ("m", 1, "production", "v-1")
DROP = ("accuracy", 0.7, 0.9)
DRIFT, NO_DRIFT = DriftDetected(*WHERE, 0.4, "retrain", ["x"], ["x"]), DriftEnded(*WHERE, 0.0)
REGIME = RegimeChanged("m", "x", "c-1", "2025-03-01T00:00:00Z", "high", "calm", 1.0, 2.0, 1.0, 1.0)


@pytest.fixture
async def looked(worker):
    """Every rule has just looked, and found nothing."""
    await worker.look()


async def happen(worker, *facts):
    """Facts, and what follows from them before any rule's time has come."""
    async with worker.database.writes(TESTER) as session:
        for fact in facts:
            announce(session, fact)
    await worker.seal()
    await worker.work_off()


async def incidents(worker):
    rows = await worker.rows("SELECT * FROM incident ORDER BY id")
    return [(row["rule"], row["subject"], row["resolved_at"] is None, row["looks"]) for row in rows]


@pytest.mark.parametrize(
    ("rule", "signal", "begins", "ends"),
    [
        ("drift", "drift", DRIFT, NO_DRIFT),
        (
            "accuracy-drop",
            "accuracy_drop",
            PerformanceDropped(*WHERE, *DROP, []),
            PerformanceRecovered(*WHERE, *DROP),
        ),
        (
            "estimated-performance",
            "estimated_loss",
            EstimatedPerformanceDropped(*WHERE, *DROP),
            EstimatedPerformanceRecovered(*WHERE, *DROP),
        ),
        ("regime-change", "regime_changes", REGIME, None),
    ],
)
async def test_what_a_monitor_announces_opens_and_ends_an_incident_at_once(
    looked, worker, signals, rule, signal, begins, ends
):
    signals[signal] = {"m": 0.4}
    await happen(worker, begins)
    assert await incidents(worker) == [(rule, "model:m", True, 1)]
    if ends is not None:
        signals[signal] = {"m": 0.0}
        await happen(worker, ends)
        assert await incidents(worker) == [(rule, "model:m", False, 1)]


async def test_many_facts_at_once_are_one_look(looked, worker, signals):
    signals["drift"] = {"m": 0.4, "n": 0.4}
    await happen(worker, *[DRIFT] * 5)
    assert await incidents(worker) == [("drift", "model:m", True, 1), ("drift", "model:n", True, 1)]


async def test_a_rule_that_wants_values_in_a_row_counts_those_of_the_clock_alone(looked, worker, signals):
    await worker.execute("UPDATE alert_rule SET consecutive = 2 WHERE name = 'drift'")
    signals["drift"] = {"m": 0.4}
    await happen(worker, DRIFT)
    await worker.look()
    await happen(worker, DRIFT)
    assert await incidents(worker) == []
    await worker.look()
    assert await incidents(worker) == [("drift", "model:m", True, 1)]


async def test_a_rule_about_another_model_is_left_to_the_clock(looked, worker, signals):
    await worker.execute("UPDATE alert_rule SET model = 'n' WHERE name = 'drift'")
    signals["drift"] = {"n": 0.4}
    await happen(worker, DRIFT)
    assert await incidents(worker) == []


async def test_a_look_that_began_before_the_fact_is_followed_by_another(looked, worker, signals):
    await worker.execute("UPDATE alert_rule SET looked_at = NULL WHERE name = 'drift'")
    await queue_looks(worker.database)
    begun = await claim_job(worker.database, [QUEUE], [LOOK])
    await happen(worker, DRIFT)
    await run_claim(begun, worker.handlers[LOOK])
    assert await incidents(worker) == []
    signals["drift"] = {"m": 0.4}
    await worker.hurry()
    assert await incidents(worker) == [("drift", "model:m", True, 1)]
