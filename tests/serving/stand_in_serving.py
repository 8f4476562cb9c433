"""A predict path of its own: models that can be foreseen, routes as the traffic room makes them, a real spool."""

from pathlib import Path
from uuid import UUID

import numpy as np
from starlette.datastructures import Headers

from app.core.access import Caller, NoCredentials, Role
from app.core.config import Settings
from app.evidence.frames import LoggedRequest, decode_frame
from app.evidence.segments import Segment
from app.evidence.spool import Spool
from app.registry.errors import ModelNotFound
from app.runtimes.cache import LoadedVersion, ModelCache
from app.runtimes.rows import Rows, parse_rows
from app.runtimes.schema import Column, ColumnType, Signature, Task
from app.runtimes.scores import Scores
from app.serving.journal import Journal
from app.serving.lines import DirectRoute, Line
from app.serving.predictor import Predictor
from app.serving.readers import Readers
from app.serving.shadows import Shadows
from app.traffic.live import LiveRoute
from app.traffic.queries import RouteState
from app.traffic.rules import UNOWNED, Arm, Shadow, rebalance

TWO_NUMBERS = (Column("x", ColumnType.FLOAT), Column("y", ColumnType.FLOAT))
SUM_SIGN = Signature(TWO_NUMBERS, Task.CLASSIFICATION, ColumnType.BOOLEAN, (False, True))
ONE, TWO, THREE = (UUID(int=i) for i in (1, 2, 3))


class SumSign:
    """Says whether x + y is positive; refuses rows in which x is 13."""

    def score(self, rows: Rows) -> Scores:
        numbers = np.array([row[:2] for row in rows.values], dtype=np.float64)
        if (numbers[:, 0] == 13).any():
            raise ValueError("13 is bad luck")
        likely = 1 / (1 + np.exp(-numbers.sum(axis=1)))
        return Scores((likely > 0.5).tolist(), np.column_stack([1 - likely, likely]), (False, True))


class House:
    """The predict path and what a test asks of it."""

    def __init__(self, spool: Path, **settings: int) -> None:
        self.settings = Settings(max_rows=50_000, **settings)
        self.spool = Spool(spool, max_bytes=2**30)
        self.models = {ONE: SumSign(), TWO: SumSign(), THREE: SumSign()}
        self.signatures = dict.fromkeys(self.models, SUM_SIGN)
        self.lines = Lines()
        self.keys = Keys()
        self.cache = ModelCache(self.load, budget_bytes=1000, queue_rows=10_000)
        self.readers = Readers()
        self.journal = Journal(self.spool)
        self.shadows = Shadows(self.cache, self.journal, queue_rows=100, deadline_seconds=5)
        self.predictor = Predictor(
            lines=self.lines,
            cache=self.cache,
            journal=self.journal,
            shadows=self.shadows,
            readers=self.readers,
            settings=self.settings,
        )

    async def load(self, version_id: UUID) -> LoadedVersion:
        signature = self.signatures[version_id]
        sample = [[1.0] * len(signature.inputs)]
        return LoadedVersion(
            version_id=version_id,
            model_name="sign",
            number=version_id.int,
            model=self.models[version_id],
            signature=signature,
            memory_bytes=1,
            sample=parse_rows({"instances": sample}, signature, max_rows=1),
        )

    def logged(self) -> list[LoggedRequest]:
        """What the spool holds, in the order of its writing."""
        records = []
        for path in sorted(self.spool.directory.glob("*.frames")):
            with Segment.opened(path) as segment:
                found = segment.read(0, max_bytes=2**28, max_frames=10_000)
            assert not found.damages
            records += [decode_frame(piece.payload) for piece in found.pieces]
        return records

    async def close(self) -> None:
        await self.shadows.drain()
        await self.readers.close()
        await self.cache.close()
        self.spool.close()


class Lines:
    """What references lead to, as a test says."""

    def __init__(self) -> None:
        self.known = {"sign": Line(route_to(ONE)), "sign:2": Line(DirectRoute(TWO))}

    def find(self, reference: str, environment: str) -> Line | None:
        return self.known.get(reference) if environment == "production" else None

    async def resolve(self, reference: str, environment: str) -> Line:
        name = reference if environment == "production" else f"{reference} in {environment}"
        if name not in self.known:
            raise ModelNotFound(name)
        return self.known[name]


def route_to(
    *version_ids: UUID, weights: tuple[float, ...] = (1.0,), shadows: tuple[Shadow, ...] = ()
) -> LiveRoute:
    """Revision 7 of a route with one arm for each version: a, b, c."""
    arms = tuple(Arm(n, v, w) for n, v, w in zip("abc", version_ids, weights, strict=False))
    owners = rebalance(UNOWNED, weights)
    return LiveRoute(RouteState(UUID(int=9), "sign", "production", "5a17", 7, arms, shadows, owners))


class Keys:
    """The bearer tokens `caller`, `viewer`, `operator`, and `other`, which is limited to other models."""

    def __init__(self) -> None:
        self._callers = {role.label: Caller(role.label, role) for role in Role}
        self._callers["other"] = Caller("other", Role.CALLER, ("other*",))

    def known(self, authorization: bytes | None) -> Caller | None:
        return self._callers.get((authorization or b"").removeprefix(b"Bearer ").decode())

    async def __call__(self, headers: Headers) -> Caller:
        raise NoCredentials
