"""Whom connections over TLS trust: the system's authorities, or those of `SSL_CERT_FILE`; what comes with certifi where there are none."""

import os
import ssl
from functools import lru_cache
from pathlib import Path

import certifi


def trusting() -> ssl.SSLContext:
    """A context for connections out of here; hosts must be who their certificates say."""
    return _trusting(os.environ.get("SSL_CERT_FILE"))


def authorities() -> str:
    """Where those lie who are trusted, a file or a directory, for a library that can't be handed a context."""
    paths = ssl.get_default_verify_paths()  # of what exists, and after SSL_CERT_FILE
    directory = paths.capath if paths.capath and any(Path(paths.capath).iterdir()) else None
    return paths.cafile or directory or certifi.where()


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
    return say_mistrust(error.verify_message, whose)


def say_mistrust(reason: str, whose: str) -> str:
    """Why a certificate was not trusted, and the way out."""
    return (
        f"{whose} certificate is not to be trusted: {reason.rstrip('. ')} "
        "(SSL_CERT_FILE names a file of authorities to trust)"
    )
