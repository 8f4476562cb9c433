"""Real streams through the product: spool, log, profiles, sums, and the jobs that watch them, at the times in the data.

python -m tests.monitoring.real_watch [elec2 bike_uci credit_default metro_traffic] [--days 400]

The models, references and baselines are those of `real_streams`. Only the clock is moved: the rows of a day come, their labels
with them, and then the monitors come by, whose five minutes hold a row or a few at most.
"""

import argparse
import asyncio
import json
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import text

from app.core import clock
from app.core.config import Settings
from app.core.database import Database
from app.core.embedded import embedded_postgres
from app.core.migrate import migrate
from app.evidence.outcome_sums import refresh
from app.evidence.profiles import Counted
from app.evidence.rules import ReferenceKind
from app.evidence.seasons import REFERENCE, add_to_week
from app.evidence.tables import ProfilePlan
from app.monitoring.drift.watching import watch_version
from app.monitoring.performance.jobs import watch_performance
from app.registry.tables import Version
from app.runtimes.row_order import row_order, weekly
from tests import make
from tests.conftest import TESTER
from tests.evidence.making import log_requests, scored_request
from tests.monitoring.real_streams import STREAMS, Replay
from tests.monitoring.test_performance_watch import id_at

Moves = Callable[[datetime], None]
Fact = tuple[datetime, str, list[str]]
_LABEL = text("""
    INSERT INTO outcome (at, prediction_id, model, actual, observed_at, given_at, given_by)
    SELECT prediction.at, id, 'm', CAST(label AS jsonb), prediction.at, prediction.at, 'tester'
    FROM unnest(CAST(:ids AS uuid[]), CAST(:labels AS text[])) AS told (id, label) JOIN prediction USING (id)
    WHERE prediction.at >= :since
""")


class Watched:
    """A real stream as a version of a service that has only just begun."""

    def __init__(self, database: Database, directory: Path, move: Moves, replay: Replay) -> None:
        self.database, self.directory, self.move, self.replay = database, directory, move, replay
        self.version: Version

    async def begin(self) -> None:
        """Register the version, with the reference that its sample would have made."""
        replay, stream = self.replay, self.replay.stream
        inputs = [{"name": name, "type": "float", "nullable": True} for name in stream.inputs]
        classes = sorted(set(replay.truth)) if replay.is_class else None
        signature = {"inputs": inputs, "task": stream.task.value, "output": "string" if classes else "float"}
        metric = replay.metric(stream.reference, 0.05).value
        async with self.database.writes(TESTER) as session:
            self.version = await make.version(
                session,
                signature=signature | ({"classes": classes} if classes else {}),
                metrics={"accuracy" if replay.is_class else "mae": metric},
            )
            await self._keep_reference(session)

    async def _keep_reference(self, session) -> None:
        replay, stream = self.replay, self.replay.stream
        rows, seconds = replay.rows(stream.reference), replay.seconds[stream.reference]
        times = seconds if stream.has_times else None
        profile = replay.plan.reference(rows)
        order = row_order(replay.plan, profile, rows, times).to_json()
        plan = ProfilePlan(
            version_id=self.version.id, kind=ReferenceKind.SAMPLE, rows=len(seconds), made_at=clock.now()
        )
        plan.columns, plan.sections, plan.row_order = replay.plan.to_json(), profile.to_bytes(), order
        session.add(plan)
        week = {hour: Counted(count, part) for hour, count, part in weekly(replay.plan, [rows], times)}
        await add_to_week(session, self.version.id, REFERENCE, week)

    async def live(self, days: int | None = None) -> None:
        """One day after the other."""
        seconds, is_live = self.replay.seconds, self.replay.stream.live
        numbers = np.unique(seconds[is_live] // 86_400)[:days]
        for number in numbers.tolist():
            chosen = np.flatnonzero(is_live & (seconds // 86_400 == number))
            self.move(datetime.fromtimestamp((number + 1) * 86_400, UTC) + timedelta(minutes=1))
            await self._came(chosen)
            await watch_version(self.database, self.version.id, "production", Settings())
            await watch_performance(self.database, self.version.id, "production", Settings())

    async def _came(self, chosen: np.ndarray) -> None:
        ids = [id_at(datetime.fromtimestamp(int(at), UTC)) for at in self.replay.seconds[chosen]]
        answers = self.replay.answers[chosen].tolist()
        request = scored_request(
            len(ids), ids=ids, version_id=self.version.id, predictions=answers, features=self.replay.table[chosen],
            probabilities=self._odds(chosen), column_types=("float",) * self.replay.table.shape[1],
        )  # fmt: skip
        await log_requests(self.database, self.directory, request)
        labels = [json.dumps(label) for label in self.replay.truth[chosen].tolist()]
        since = datetime.fromtimestamp(int(self.replay.seconds[chosen].min()), UTC)
        async with self.database.writes(TESTER) as session:
            await session.execute(_LABEL, {"ids": ids, "labels": labels, "since": since})
            while await refresh(session, "m"):
                pass

    def _odds(self, chosen: np.ndarray) -> np.ndarray | None:
        """Of two classes."""
        if self.replay.sure is None:
            return None
        sure = self.replay.sure[chosen]
        is_second = self.replay.answers[chosen] == max(self.replay.answers)
        second = np.where(is_second, sure, 1 - sure)
        return np.column_stack([1 - second, second])

    async def facts(self) -> Sequence[Fact]:
        """When something was told, what, and of which columns."""
        found = await self.rows(
            "SELECT kind, at, body FROM fact WHERE kind ~ '^(Drift|Performance)' ORDER BY at, id"
        )
        return [(row.at, row.kind, row.body.get("features", [])) for row in found]

    async def alarms(self) -> Sequence[datetime]:
        """The ends of all windows that drift was proven in."""
        return [
            row.until
            for row in await self.rows(
                "SELECT until FROM drift_verdict WHERE finding = 'drift' ORDER BY until"
            )
        ]

    async def rows(self, query: str) -> Sequence[Any]:
        """What the database holds."""
        async with self.database.reads() as session:
            return (await session.execute(text(query))).all()


async def replay_through(name: str, days: int | None) -> None:
    """Print what a monitor told of a stream."""
    with tempfile.TemporaryDirectory(prefix="switchyard-real-") as place:
        async with embedded_postgres(Path(place) / "postgres") as server:
            await migrate(server.url)
            database = Database(server.url)

            def move(moment: datetime) -> None:
                clock.now = lambda: moment

            watched = Watched(database, Path(place) / "spool", move, Replay(STREAMS[name]()))
            await watched.begin()
            await watched.live(days)
            print(name)
            for at, kind, features in await watched.facts():
                print(f"  {at:%Y-%m-%d} {kind} {', '.join(features)}", flush=True)
            alarms = await watched.alarms()
            print(
                f"  {len(alarms)} windows with drift, days: {sorted({f'{at:%Y-%m-%d}' for at in alarms})[:40]}"
            )
            await database.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("streams", nargs="*", default=list(STREAMS))
    parser.add_argument("--days", type=int)
    given = parser.parse_args()
    for name in given.streams:
        asyncio.run(replay_through(name, given.days))


if __name__ == "__main__":
    main()
