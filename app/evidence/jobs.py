"""The upkeep of the prediction log."""

from collections.abc import Mapping

from app.core.config import Settings
from app.core.jobs import WORKER, Claim, Handler
from app.evidence.actions import keep_log_days

KEEP_LOG_DAYS = "keep_log_days"


def job_handlers(settings: Settings) -> Mapping[str, Handler]:
    """The kinds of job that this room does; all of them are upkeep, due again and again."""

    async def keep_days(claim: Claim) -> None:
        async with claim.database.writes(WORKER) as session:
            await keep_log_days(session, settings.prediction_retention_days)

    return {KEEP_LOG_DAYS: keep_days}
