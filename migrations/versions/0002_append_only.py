"""What was written down stays: route revisions never change, facts are sealed once and then never change"""

from alembic import op

from app.core.facts import APPEND_ONLY as FACTS
from app.traffic.tables import APPEND_ONLY as REVISIONS

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for statement in (*FACTS, *REVISIONS):
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TRIGGER append_only ON route_revision")
    op.execute("DROP TRIGGER append_only ON fact")
    op.execute("DROP FUNCTION refuse_change()")
    op.execute("DROP FUNCTION refuse_change_of_fact()")
