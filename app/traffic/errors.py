"""How routes say no."""

from dataclasses import dataclass

from app.core.errors import Conflict, Invalid, NotFound, Stale, Unavailable


@dataclass(eq=False)
class RouteMoved(Stale):
    """The route was changed since the caller looked.

    The route was read at one revision, and somebody has appended another since. A change that was meant for the
    first may be wrong on the second, so it was not made.
    """

    expected: int
    current: int

    def detail(self) -> str:
        return f"If-Match: the route is at revision {self.current}, not {self.expected}; look at it again and repeat the change"


@dataclass(eq=False)
class RouteRaced(Conflict):
    """Somebody else changed the route at the same moment.

    Two changes of the same route came at once, and one of them was first. This one was not made.
    """

    model: str
    environment: str

    def detail(self) -> str:
        return f"the route of {self.model} in {self.environment} was changed at the same moment; look at it and try again"


@dataclass(eq=False)
class NoRoute(NotFound):
    """Nothing answers for this model there.

    A route says which versions answer for a model in an environment. This model has none there, because nothing
    was promoted to it.
    """

    model: str
    environment: str

    def detail(self) -> str:
        return f"{self.model} has no route in {self.environment}; promote a version first"


@dataclass(eq=False)
class BadRoute(Invalid):
    """The route can't share callers out.

    Arms answer for the model by their weights, shadows see a share of its requests. These break a rule by which
    each caller gets one certain arm, or name a version that may not answer; `problem` says which, and the route was
    not changed.
    """

    field: str
    problem: str

    def detail(self) -> str:
        return f"{self.field}: {self.problem}"


@dataclass(eq=False)
class NotPrepared(Unavailable):
    """Not every replica holds the versions ready.

    A change of traffic is made once every replica has the new versions in memory, so that no request waits for a
    load. Some replicas were not ready in time; nothing was changed.
    """

    replicas: list[str]

    def detail(self) -> str:
        return f"nothing was changed: {'; '.join(self.replicas)}. They go on loading; ask again in a moment"
