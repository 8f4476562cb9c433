"""Configuration: one frozen `Settings`, read from the environment once and passed down."""

from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AliasChoices,
    AnyHttpUrl,
    Field,
    IPvAnyNetwork,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

MIB = 1024 * 1024
GIB = 1024 * MIB


def _named(name: str) -> AliasChoices:
    """A variable that users know without our prefix keeps its name, and is understood with it too."""
    return AliasChoices(name, f"SWITCHYARD_{name}")


class Settings(BaseSettings):
    """Everything an operator may choose. Variables without a name of their own are `SWITCHYARD_<FIELD>`.

    Raises:
        pydantic.ValidationError: a value is impossible, or two of them contradict each other.
    """

    model_config = SettingsConfigDict(
        env_prefix="SWITCHYARD_",
        frozen=True,
        extra="ignore",
        populate_by_name=True,
        env_ignore_empty=True,
        allow_inf_nan=False,
    )

    # Where things live
    database_url: SecretStr | None = Field(None, validation_alias=_named("ML_DATABASE_URL"))
    base_path: Path = Field(Path("var"), validation_alias=_named("MLOPS_BASE_PATH"))
    artifact_storage: str | None = Field(None, validation_alias=_named("ARTIFACT_STORAGE_PATH"))
    artifact_bucket: str | None = Field(None, validation_alias=_named("MODEL_STORAGE_BUCKET"))
    artifact_options: dict[str, str] = Field(default_factory=dict)
    artifact_encryption_key_file: Path | None = None
    signing_key_file: Path | None = None
    import_roots: Annotated[tuple[str, ...], NoDecode] = ()

    # The door
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    workers: int = Field(1, ge=1, le=128)
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = ()
    bootstrap_key_file: Path | None = None
    drain_seconds: float = Field(30.0, gt=0)
    request_seconds: float = Field(60.0, gt=0)
    max_json_bytes: int = Field(32 * MIB, ge=1024)
    max_json_depth: int = Field(64, ge=8, le=1000)
    max_upload_bytes: int = Field(8 * GIB, ge=1024)
    max_rows: int = Field(100_000, ge=1)

    # Tokens of an identity provider
    oidc_issuer: str | None = None
    oidc_audience: str | None = None
    oidc_jwks: str | None = None
    oidc_role_claim: str = "roles"

    # Serving and its log
    model_memory_bytes: int = Field(2 * GIB, ge=MIB)
    predict_deadline_ms: int = Field(10_000, ge=1)
    predict_queue_rows: int = Field(10_000, ge=1)
    promote_patience_seconds: float = Field(10.0, ge=0)
    prepare_seconds: float = Field(120.0, gt=0)
    spool_bytes: int = Field(4 * GIB, ge=MIB)
    prediction_retention_days: int = Field(90, ge=1)
    allowed_unsafe_formats: Annotated[tuple[str, ...], NoDecode] = ()
    probe_seconds: float = Field(60.0, gt=0)
    probe_memory_bytes: int = Field(4 * GIB, ge=64 * MIB)

    # Jobs, monitors and experiments
    max_concurrent_training_jobs: int = Field(
        3, ge=1, validation_alias=_named("MAX_CONCURRENT_TRAINING_JOBS")
    )
    training_job_timeout_hours: float = Field(6, gt=0, validation_alias=_named("TRAINING_JOB_TIMEOUT_HOURS"))
    min_training_data_points: int = Field(1000, ge=1, validation_alias=_named("MIN_TRAINING_DATA_POINTS"))
    drift_threshold: float = Field(0.1, gt=0, lt=1, validation_alias=_named("DRIFT_THRESHOLD"))
    performance_threshold: float = Field(0.15, gt=0, lt=1, validation_alias=_named("PERFORMANCE_THRESHOLD"))
    monitoring_window_hours: float = Field(24, gt=0, validation_alias=_named("MONITORING_WINDOW_HOURS"))
    ab_test_min_duration_hours: float = Field(24, ge=0, validation_alias=_named("AB_TEST_MIN_DURATION_HOURS"))
    ab_test_confidence_level: float = Field(
        0.95, gt=0.5, lt=1, validation_alias=_named("AB_TEST_CONFIDENCE_LEVEL")
    )
    ab_test_significance_threshold: float = Field(
        0.05, gt=0, lt=0.5, validation_alias=_named("AB_TEST_SIGNIFICANCE_THRESHOLD")
    )

    # Neighbours
    mlflow_tracking_uri: str | None = Field(None, validation_alias=_named("MLFLOW_TRACKING_URI"))
    slack_webhook_url: SecretStr | None = Field(None, validation_alias=_named("SLACK_WEBHOOK_URL"))
    email_notifications: Annotated[tuple[str, ...], NoDecode] = Field(
        (), validation_alias=_named("EMAIL_NOTIFICATIONS")
    )
    smtp_url: SecretStr = Field(SecretStr("smtp://localhost"), validation_alias=_named("SMTP_URL"))
    email_sender: str = Field("switchyard@localhost", pattern=r"^[^@\s<>,]+@[^@\s<>,]+$")
    allowed_targets: Annotated[tuple[IPvAnyNetwork, ...], NoDecode] = ()
    channel_key_file: Path | None = None
    kubernetes_namespace: str | None = Field(None, validation_alias=_named("KUBERNETES_NAMESPACE"))
    prometheus_url: AnyHttpUrl | None = Field(None, validation_alias=_named("PROMETHEUS_URL"))
    docker_registry: str | None = Field(None, validation_alias=_named("DOCKER_REGISTRY"))
    redis_url: SecretStr | None = Field(None, validation_alias=_named("ML_REDIS_URL"))

    # What it tells
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    telemetry: bool = False

    @field_validator(
        "allowed_hosts",
        "allowed_unsafe_formats",
        "allowed_targets",
        "import_roots",
        "email_notifications",
        mode="before",
    )
    @classmethod
    def _split_at_commas(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("base_path")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().resolve()

    @field_validator("database_url")
    @classmethod
    def _postgres_only(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and value.get_secret_value().split(":", 1)[0].split("+")[0] not in {
            "postgres",
            "postgresql",
        }:
            raise ValueError(
                "ML_DATABASE_URL must be a postgresql:// address (Postgres 14 or newer); "
                "leave it out to use the embedded Postgres"
            )
        return value

    @field_validator("smtp_url")
    @classmethod
    def _mail_server(cls, value: SecretStr) -> SecretStr:
        try:
            url = urlsplit(value.get_secret_value())
            fits = url.scheme in {"smtp", "smtps"} and bool(url.hostname) and (url.port or 25) > 0
        except ValueError:
            fits = False
        if not fits:
            raise ValueError(
                "SMTP_URL must be smtp://user:password@host:port, or smtps:// for TLS from the start"
            )
        return value

    @field_validator("artifact_bucket")
    @classmethod
    def _bucket_has_scheme(cls, value: str | None) -> str | None:
        if value is not None and "://" not in value:
            raise ValueError(
                f"MODEL_STORAGE_BUCKET must say which store it is: s3://{value}, gs://{value} or az://{value}"
            )
        return value

    @model_validator(mode="after")
    def _confidence_and_significance_agree(self) -> Self:
        if abs(self.ab_test_confidence_level + self.ab_test_significance_threshold - 1) > 1e-9:
            raise ValueError(
                f"AB_TEST_CONFIDENCE_LEVEL={self.ab_test_confidence_level} contradicts "
                f"AB_TEST_SIGNIFICANCE_THRESHOLD={self.ab_test_significance_threshold}: they must add up to 1"
            )
        return self

    @model_validator(mode="after")
    def _identity_provider_is_whole(self) -> Self:
        if self.oidc_issuer and not (self.oidc_audience and self.oidc_jwks):
            raise ValueError(
                "SWITCHYARD_OIDC_ISSUER needs SWITCHYARD_OIDC_AUDIENCE and SWITCHYARD_OIDC_JWKS beside it"
            )
        return self

    @cached_property
    def sqlalchemy_url(self) -> str | None:
        """The address of an existing Postgres as SQLAlchemy and asyncpg want it; None means the embedded one."""
        if self.database_url is None:
            return None
        _, rest = self.database_url.get_secret_value().split("://", 1)
        return f"postgresql+asyncpg://{rest}"

    @property
    def artifact_url(self) -> str:
        """Where artifacts are stored: a directory, or an object store's URL."""
        return self.artifact_bucket or self.artifact_storage or str(self.base_path / "artifacts")

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the service."""
        return self.host in {"127.0.0.1", "::1", "localhost"}


def variable_of(field: str) -> str:
    """The environment variable that sets a field.

    >>> variable_of("database_url"), variable_of("port")
    ('ML_DATABASE_URL', 'SWITCHYARD_PORT')
    """
    alias = Settings.model_fields[field].validation_alias
    return str(alias.choices[0]) if isinstance(alias, AliasChoices) else f"SWITCHYARD_{field.upper()}"


def faults_of(error: ValidationError) -> list[str]:
    """What is wrong with the configuration, each fault with the variable that brought it."""
    return [f"{_where(fault['loc'])}{fault['msg'].removeprefix('Value error, ')}" for fault in error.errors()]


def _where(location: tuple[int | str, ...]) -> str:
    first = str(location[0]) if location else ""
    name = variable_of(first) if first in Settings.model_fields else first
    return f"{name}: " if name else ""
