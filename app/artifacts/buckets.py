"""Object stores by address: S3, Google Cloud Storage and Azure behind one interface."""

from datetime import timedelta
from typing import Any

from obstore.exceptions import BaseError
from obstore.store import ObjectStore, from_url

# A store that is away should be noticed soon, while a long download may take its time.
_CLIENT_DEFAULTS: Any = {"connect_timeout": "5 seconds", "read_timeout": "30 seconds", "timeout": "6 hours"}
_RETRIES: Any = {"max_retries": 3, "retry_timeout": timedelta(seconds=20)}
_CLIENT_OPTIONS = frozenset(
    {
        "allow_http",
        "allow_invalid_certificates",
        "connect_timeout",
        "default_content_type",
        "default_headers",
        "http1_only",
        "http2_keep_alive_interval",
        "http2_keep_alive_timeout",
        "http2_keep_alive_while_idle",
        "http2_only",
        "pool_idle_timeout",
        "pool_max_idle_per_host",
        "proxy_ca_certificate",
        "proxy_excludes",
        "proxy_url",
        "randomize_addresses",
        "read_timeout",
        "root_certificate",
        "timeout",
        "user_agent",
    }
)


def open_bucket(url: str, options: dict[str, str]) -> ObjectStore:
    """The store at an address; options are those of obstore, for the bucket and for the HTTP client in one.

    Raises:
        ValueError: the address or an option can't be used; the message says which.
    """
    client: Any = {key: value for key, value in options.items() if key in _CLIENT_OPTIONS}
    bucket: Any = {key: value for key, value in options.items() if key not in _CLIENT_OPTIONS}
    try:
        return from_url(url, config=bucket, client_options=_CLIENT_DEFAULTS | client, retry_config=_RETRIES)
    except (BaseError, ValueError) as error:
        reason = str(error).split("\n", 1)[0]
        raise ValueError(f"artifacts can't be stored at {url} with these options: {reason}") from error
