"""What is refused before a version is tried at the gate to production, which can take minutes and leaves a report."""

from app.deployments.errors import AlreadyServing
from app.registry.lifecycle import require_way_to_production
from app.registry.succession import Standing


def require_a_way(standing: Standing, environment: str, *, force: bool) -> None:
    """Refuse what no gate could let through; whoever goes live then is asked once more.

    Raises:
        AlreadyServing: it is in production there.
        IllegalMove: its stage does not lead to production.
    """
    if standing.champion_id == standing.version_id:
        raise AlreadyServing(standing.model_reference, environment)
    require_way_to_production(standing, force=force)
