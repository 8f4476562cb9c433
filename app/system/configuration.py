"""The configuration as this process runs with it: what each variable does, and whether it is set. No secret is told."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from fastapi import Request
from pydantic import ConfigDict, Field, SecretStr

from app.core.access import Role, allows
from app.core.config import Settings, variable_of
from app.core.edge import room
from app.core.wire import Outgoing

router = room("/system", "system")
MASK = "********"
_USER_OF_URL = re.compile(r"(?<=://)[^/@\s]+(?=@)")

MEANINGS: Mapping[str, str] = {
    "database_url": "Postgres to use; without it a real Postgres is started under the base path",
    "base_path": "Local state: spool, keys, caches, the embedded Postgres",
    "artifact_storage": "Directory or URL of the artifact store",
    "artifact_bucket": "Object store for artifacts: `s3://…`, `gs://…`, `az://…`; wins over the path",
    "artifact_options": "JSON of store options: endpoint, region, credentials",
    "artifact_encryption_key_file": "32 bytes or base64; encrypts artifacts at rest",
    "signing_key_file": "EC P-256 key that signs artifacts; the same for all replicas",
    "import_roots": "Comma-separated URLs under which `artifact_uri` may point",
    "host": "Address to listen on; beyond loopback an admin key must exist",
    "port": "Port; 0 picks a free one",
    "workers": "HTTP processes that share the port",
    "allowed_hosts": "Comma-separated `Host` values that are answered",
    "bootstrap_key_file": "Where the first admin key is written when none exists",
    "drain_seconds": "How long open connections may finish at shutdown",
    "request_seconds": "How long a request body may take to arrive",
    "max_json_bytes": "Largest JSON body",
    "max_json_depth": "Deepest nesting of a JSON body",
    "max_upload_bytes": "Largest upload, all files of its form together; a form may have 1,003",
    "max_rows": "Most rows in one predict call",
    "oidc_issuer": "Accept bearer tokens of this issuer",
    "oidc_audience": "The audience that tokens must name",
    "oidc_jwks": "The issuer's keys: a URL or a file",
    "oidc_role_claim": "The claim with viewer, caller, operator or admin",
    "model_memory_bytes": "Memory for loaded models, per HTTP process",
    "predict_deadline_ms": "A prediction later than this is a 504",
    "predict_queue_rows": "Rows that may wait for one model; more is a 429",
    "promote_patience_seconds": "How long a promotion answers 200 before it becomes a 202",
    "prepare_seconds": "How long replicas may take to load a version before its promotion fails",
    "spool_bytes": "Disk for predictions that wait for the database",
    "prediction_retention_days": "Days of prediction log to keep",
    "allowed_unsafe_formats": "Formats that can run code on load, allowed by name: `joblib`",
    "probe_seconds": "Time limit of a model's first load",
    "probe_memory_bytes": "Memory limit of a model's first load",
    "max_concurrent_training_jobs": "Trainings at once",
    "training_job_timeout_hours": "Longest training",
    "min_training_data_points": "Fewest rows to train on",
    "drift_threshold": "Drift score that calls for retraining soon",
    "performance_threshold": "Relative loss of performance that calls for retraining at once",
    "monitoring_window_hours": "Window of a monitor",
    "ab_test_min_duration_hours": "Shortest A/B test",
    "ab_test_confidence_level": "Must be 1 − the significance threshold, or the service refuses to start",
    "ab_test_significance_threshold": "False-alarm rate of an A/B test",
    "mlflow_tracking_uri": "MLflow server to import from or mirror to",
    "slack_webhook_url": "Where alerts go",
    "email_notifications": "Comma-separated addresses for alerts",
    "smtp_url": "Mail server for alerts: `smtp://user:password@host:587`, or `smtps://…`",
    "email_sender": "In whose name alerts are mailed",
    "allowed_targets": "Comma-separated networks beyond the public ones that alert channels may lead to",
    "channel_key_file": "Key (base64) that encrypts alert channels; the same for all replicas",
    "kubernetes_namespace": "Where training jobs run",
    "prometheus_url": "Where system health reads infrastructure metrics",
    "docker_registry": "Where training images come from",
    "redis_url": "Accepted and reported as not needed",
    "log_level": "debug, info, warning or error",
    "telemetry": "OpenTelemetry traces over OTLP (`OTEL_EXPORTER_OTLP_ENDPOINT`), with the extra `telemetry`",
}
"""The words of the README's table; a test holds the two together."""

NOT_NEEDED = "Accepted, but not needed: queues, locks and notifications live in Postgres."


class VariableOut(Outgoing):
    """One variable."""

    variable: str
    does: str
    is_set: bool
    value: Any = Field(description="What is in force, set or by default; secrets are masked.")
    note: str | None = None


class ConfigurationOut(Outgoing):
    """The configuration of the process that answers."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "variables": [
                    {
                        "variable": "ML_REDIS_URL",
                        "does": MEANINGS["redis_url"],
                        "is_set": True,
                        "value": MASK,
                        "note": NOT_NEEDED,
                    }
                ]
            }
        }
    )

    variables: list[VariableOut]


@router.get("/config", response_model=ConfigurationOut, dependencies=[allows(Role.ADMIN)])
async def describe_configuration(request: Request) -> Any:
    """Every environment variable: what it does, whether it is set, and the value in force with secrets masked."""
    return {"variables": list(describe(request.app.state.settings))}


def describe(settings: Settings) -> Iterator[VariableOut]:
    """Every variable as these settings have it."""
    for name in Settings.model_fields:
        is_set = name in settings.model_fields_set
        yield VariableOut(
            variable=variable_of(name),
            does=MEANINGS[name],
            is_set=is_set,
            value=masked(getattr(settings, name)),
            note=NOT_NEEDED if name == "redis_url" and is_set else None,
        )


def masked(value: Any) -> Any:
    """A setting's value as an administrator may see it: no secret, no store's credentials, nobody's password in a URL.

    >>> masked("https://me:secret@mlflow.example/api"), masked({"secret_access_key": "x"}), masked(8000)
    ('https://********@mlflow.example/api', {'secret_access_key': '********'}, 8000)
    """
    if isinstance(value, SecretStr):
        return MASK
    if isinstance(value, dict):
        return dict.fromkeys(value, MASK)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, tuple):
        return [masked(item) for item in value]
    return _USER_OF_URL.sub(MASK, str(value))
