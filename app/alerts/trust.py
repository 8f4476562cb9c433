"""Whom connections over TLS trust: the system's authorities, or those of `SSL_CERT_FILE`; what comes with certifi where there are none."""

import os
import ssl
from functools import lru_cache

import certifi


def trusting() -> ssl.SSLContext:
    """A context for connections out of here; hosts must be who their certificates say."""
    return _trusting(os.environ.get("SSL_CERT_FILE"))


@lru_cache(maxsize=4)
def _trusting(_named: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if not context.get_ca_certs():
        context.load_verify_locations(certifi.where())
    return context


def mistrust_of(error: BaseException | None, whose: str) -> str | None:
    """Why a certificate was not trusted, and the way out, where that is at the bottom of an error."""
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__cause__ or error.__context__
    if error is None:
        return None
    return (
        f"{whose} certificate is not to be trusted: {error.verify_message.rstrip('.')} "
        "(SSL_CERT_FILE names a file of authorities to trust)"
    )
