"""The log takes rows in at half the cost: one summary index in the place of three B-trees"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

RARE = {"version": "int8_bloom_ops", "arm": "text_bloom_ops", "caller": "text_bloom_ops"}


def upgrade() -> None:
    for column in RARE:
        op.drop_index(f"ix_prediction_{column}", table_name="prediction")
    op.create_index(
        "ix_prediction_rare",
        "prediction",
        list(RARE),
        postgresql_using="brin",
        postgresql_ops=RARE,
        postgresql_with={"autosummarize": True},
    )


def downgrade() -> None:
    op.drop_index("ix_prediction_rare", table_name="prediction")
    for column in RARE:
        op.create_index(f"ix_prediction_{column}", "prediction", ["model", column])
