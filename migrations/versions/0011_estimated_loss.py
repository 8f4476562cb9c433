"""The alert rule over performance that is estimated while labels are missing"""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import insert

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

RULE = {
    "name": "estimated-performance",
    "signal": "estimated_loss",
    "comparison": "above",
    "threshold": 0.15,
    "severity": "warning",
    "window_seconds": 3600,
    "consecutive": 1,
    "cooldown_seconds": 900,
}


def upgrade() -> None:
    start = RULE | {"enabled": True, "changed_at": datetime.now(UTC), "changed_by": "bootstrap"}
    rules = sa.table("alert_rule", *map(sa.column, start))
    op.execute(insert(rules).values(start).on_conflict_do_nothing())


def downgrade() -> None:
    op.execute("DELETE FROM alert_rule WHERE signal = 'estimated_loss'")
