"""Starting safely: a service that others can reach starts only when somebody can prove to be its admin."""

import os
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import unquote, urlsplit

from app.core.access import Role
from app.core.authenticate import serves_this_machine_only
from app.core.config import Settings
from app.core.database import Actor, Database
from app.core.keys import NewKey, has_admin_key, make_key
from app.core.locks import hold_until_commit

FIRST_KEY = "first-admin"
SAMPLE_PASSWORDS = frozenset(
    {"admin", "change-me", "change_me", "changeit", "changeme", "default", "example", "mypassword", "pass",
     "password", "postgres", "root", "secret", "switchyard", "test", "user"}
)  # fmt: skip
_STARTER = Actor("bootstrap", "system")


class StartRefused(RuntimeError):  # noqa: N818 - a decision, not a malfunction
    """Serving now would not be safe; the message says what to change."""


class NoWayIn(StartRefused):
    """Others could reach the service, and nobody could prove to be its admin."""


class SampleSecret(StartRefused):
    """A password that everybody knows protects something that others can reach."""


class KeyFileExists(StartRefused):
    """The file that the first admin key is to be written to exists already."""


async def require_a_way_in(settings: Settings, database: Database) -> None:
    """Refuse to start where nobody, or everybody, could get in; write the first admin key if a file is named for it.

    Raises:
        NoWayIn: reachable by others, and there is no admin key, no identity provider and no file to write one to.
        SampleSecret: reachable by others, with a password that every manual shows.
        KeyFileExists: the file for the first key is there, but not its key.
    """
    local = serves_this_machine_only(settings)
    if not local:
        _refuse_sample_secrets(settings)
    if settings.bootstrap_key_file:
        await _write_first_key(database, settings.bootstrap_key_file)
    elif not local and settings.oidc_issuer is None:
        await _require_admin_key(settings, database)


def _refuse_sample_secrets(settings: Settings) -> None:
    addresses = {"ML_DATABASE_URL": settings.database_url, "ML_REDIS_URL": settings.redis_url}
    for variable, address in addresses.items():
        password = unquote(urlsplit(address.get_secret_value()).password or "") if address else ""
        if password.casefold() in SAMPLE_PASSWORDS:
            raise SampleSecret(
                f"{variable} holds a password that every manual shows; choose another one, or bind to 127.0.0.1"
            )


async def _require_admin_key(settings: Settings, database: Database) -> None:
    async with database.reads() as session:
        if await has_admin_key(session):
            return
    raise NoWayIn(
        f"Bound to {settings.host}, others can reach this service, but no admin key exists. Do one of these: set "
        "SWITCHYARD_BOOTSTRAP_KEY_FILE to a file that the first admin key shall be written to; make a key with "
        "`switchyard keys create --role admin`; name an identity provider by SWITCHYARD_OIDC_ISSUER; or serve only "
        "this machine (SWITCHYARD_HOST=127.0.0.1, and no SWITCHYARD_ALLOWED_HOSTS)."
    )


async def _write_first_key(database: Database, path: Path) -> None:
    with ExitStack() as undo:
        async with database.writes(_STARTER) as session:
            await hold_until_commit(session, "first admin key")
            if await has_admin_key(session):
                return
            key = await make_key(session, name=FIRST_KEY, role=Role.ADMIN)
            _write_privately(path, key)
            undo.callback(path.unlink)
        undo.pop_all()


def _write_privately(path: Path, key: NewKey) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise KeyFileExists(
            f"{path} exists already, but the database has no admin key: the file is another installation's, or left "
            "from a start that was interrupted. Move it away and start again."
        ) from None
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{key.text}\n")
        file.flush()
        os.fsync(descriptor)
