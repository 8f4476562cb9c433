"""The `switchyard` command."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn
from uuid import UUID

import typer

import app
from app.core.config import Settings

cli = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Put machine-learning models into production: register, promote, predict, label, roll back.\n\n"
    "Start the service with `switchyard serve` (or see the whole loop with `switchyard demo`); the other commands talk "
    "to it at SWITCHYARD_URL (default http://127.0.0.1:8000) with the key in SWITCHYARD_API_KEY.",
)
keys = typer.Typer(
    no_args_is_help=True, help="Make, list and revoke API keys; needs the database, not the service."
)
models = typer.Typer(
    no_args_is_help=True,
    help="Register models, promote versions, roll back.\n\nThe main loop:\n\n"
    "\b\n"
    "switchyard models register churn model.skops --reference sample.csv\n"
    "switchyard models validate churn:1\n"
    "switchyard models promote churn:1 --reason 'better on May labels'\n"
    "switchyard models rollback churn --reason 'errors since the release'",
)
cli.add_typer(keys, name="keys")
cli.add_typer(models, name="models")

Reference = Annotated[str, typer.Argument(help="name, name:3, name:2.1.0 or name@alias")]


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Say what is wrong in one line, without a traceback."""
    from pydantic import ValidationError
    from sqlalchemy.exc import DBAPIError

    from app.core.config import faults_of
    from app.core.errors import Refusal

    try:
        yield
    except ValidationError as error:
        typer.echo("can't start:\n  " + "\n  ".join(faults_of(error)), err=True)
        raise typer.Exit(2) from None
    except DBAPIError as error:
        _leave(f"the database refuses: {error.orig}")
    except (Refusal, RuntimeError, OSError) as error:
        _leave(str(error))


def _leave(reason: str) -> NoReturn:
    typer.echo(reason, err=True)
    raise typer.Exit(1) from None


@cli.command()
def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; beyond loopback a key is required.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 picks a free one.")] = None,
    workers: Annotated[int | None, typer.Option(help="How many HTTP processes share the port.")] = None,
) -> None:
    """Start the service: HTTP processes, a worker, and an embedded Postgres unless ML_DATABASE_URL names one."""
    from app.core.telemetry import configure_logging
    from app.supervisor import supervise

    given: dict[str, Any] = {"host": host, "port": port, "workers": workers}
    with _plain_errors():
        settings = Settings(**{name: value for name, value in given.items() if value is not None})
        configure_logging(settings.log_level)
        asyncio.run(supervise(settings))


@cli.command()
def migrate() -> None:
    """Bring the database at ML_DATABASE_URL to this version's schema."""
    from app.core.migrate import migrate as apply

    with _plain_errors():
        asyncio.run(apply(_address_of_database(Settings())))


@cli.command(hidden=True)
def prepare() -> None:
    """What `serve` does to the database before it opens the door: migrate it, and see that its admin has a way in."""
    from app.core.bootstrap import require_a_way_in
    from app.core.database import Database
    from app.core.migrate import migrate as apply

    async def make_ready(settings: Settings) -> None:
        url = _address_of_database(settings)
        await apply(url)
        database = Database(url)
        try:
            await require_a_way_in(settings, database)
        finally:
            await database.close()

    with _plain_errors():
        asyncio.run(make_ready(Settings()))


def _address_of_database(settings: Settings) -> str:
    if settings.sqlalchemy_url is None:
        raise RuntimeError(
            "set ML_DATABASE_URL; the embedded Postgres is migrated whenever the service starts"
        )
    return settings.sqlalchemy_url


@cli.command()
def demo(
    stay: Annotated[bool, typer.Option(help="Leave the service running at the end.")] = True,
) -> None:
    """Start the service and watch two real models go through the whole loop."""
    from app.demo import run_demo

    with _plain_errors():
        run_demo(stay=stay)


@cli.command()
def version() -> None:
    """Print the version."""
    typer.echo(f"switchyard {app.__version__}")


@asynccontextmanager
async def _database() -> AsyncIterator[Any]:
    """The service's database, started for the moment when it is the embedded one and not running."""
    from app.core.database import Database
    from app.core.embedded import embedded_postgres, find_running_url
    from app.core.migrate import migrate as apply

    settings = Settings()
    async with AsyncExitStack() as stack:
        url = settings.sqlalchemy_url or find_running_url(settings.base_path)
        if url is None:
            url = (await stack.enter_async_context(embedded_postgres(settings.base_path))).url
            await apply(url)
        database = Database(url)
        stack.push_async_callback(database.close)
        yield database


def _actor() -> Any:
    from app.core.database import Actor

    return Actor(f"cli:{os.environ.get('USER', 'operator')}", "admin")


@keys.command("create")
def create_key(
    name: str,
    role: Annotated[
        str, typer.Option(help="viewer, caller (predict and feedback), operator or admin")
    ] = "viewer",
    model: Annotated[
        list[str], typer.Option(help="Limit the key to models by name pattern; may be repeated.")
    ] = ["*"],  # noqa: B006
    days: Annotated[int | None, typer.Option(help="How long the key is valid.")] = None,
) -> None:
    """Make a key and print it: it is shown this once.

    Example: switchyard keys create ci --role operator --model 'churn-*' --days 90
    """
    from datetime import timedelta

    from app.core import clock
    from app.core.access import Role
    from app.core.keys import make_key

    async def make() -> str:
        expires_at = None if days is None else clock.now() + timedelta(days=days)
        async with _database() as database, database.writes(_actor()) as session:
            return (
                await make_key(
                    session, name=name, role=Role[role.upper()], models=model, expires_at=expires_at
                )
            ).text

    if role.upper() not in Role.__members__:
        raise typer.BadParameter(
            f"{role!r} is none of {', '.join(each.label for each in Role)}", param_hint="--role"
        )
    with _plain_errors():
        typer.echo(asyncio.run(make()))


@keys.command("list")
def list_keys() -> None:
    """List the keys that were not revoked."""
    from app.core.keys import list_unrevoked_keys

    async def read() -> list[str]:
        async with _database() as database, database.reads() as session:
            rows = await list_unrevoked_keys(session)
            return [f"{row.id}  {row.role.label:8}  {row.name}  {','.join(row.models)}" for row in rows]

    with _plain_errors():
        for line in asyncio.run(read()):
            typer.echo(line)


@keys.command("revoke")
def revoke(key_id: UUID) -> None:
    """Revoke a key by its id; it stops working within a second."""
    from app.core.keys import revoke_key

    async def write() -> None:
        async with _database() as database, database.writes(_actor()) as session:
            await revoke_key(session, key_id)

    with _plain_errors():
        asyncio.run(write())


def _call(method: str, path: str, **options: Any) -> Any:
    """Ask the service; print its problem and leave when it refuses."""
    import httpx

    base = os.environ.get("SWITCHYARD_URL", "http://127.0.0.1:8000")
    key = os.environ.get("SWITCHYARD_API_KEY")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        answer = httpx.request(method, f"{base}/api{path}", headers=headers, timeout=300, **options)
    except (httpx.TransportError, httpx.InvalidURL) as error:
        _leave(
            f"no service at {base}: {str(error).rstrip('.')}. Start one with `switchyard serve`, or set SWITCHYARD_URL."
        )
    try:
        document = answer.json() if answer.content else {}
    except ValueError:
        _leave(f"{base} is no Switchyard: {answer.status_code}, {answer.headers.get('content-type')}")
    if answer.is_error:
        _leave(f"{document['title']}: {document['detail']}")
    return document


def _address(reference: str) -> str:
    """A reference as one step of a path, whatever is typed: `..` and `?` must not lead elsewhere."""
    from urllib.parse import quote

    return f"/models/{quote(reference, safe=':@').replace('.', '%2E')}"


def _print(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2))


@models.command("list")
def list_models(search: Annotated[str, typer.Option(help="Part of a name.")] = "") -> None:
    """List models with what serves them."""
    page = _call("GET", "/models", params={"search": search, "limit": 200} if search else {"limit": 200})
    for model in page["items"]:
        serving = ", ".join(f"{version} in {where}" for where, version in model["production"].items())
        typer.echo(f"{model['name']}  {serving or 'nothing in production'}")


@models.command("show")
def show_model(reference: Reference) -> None:
    """Show a model, or one version of it whole."""
    _print(_call("GET", _address(reference)))


@models.command("register")
def register_model(
    name: str,
    files: Annotated[
        list[Path], typer.Argument(exists=True, dir_okay=False, help="The model's files: skops, ONNX, …")
    ],
    reference: Annotated[
        Path | None, typer.Option(exists=True, help="A sample of the training rows, CSV or Parquet.")
    ] = None,
    metadata: Annotated[str, typer.Option(help="More of what is known, as JSON.")] = "{}",
) -> None:
    """Register a version from files."""
    details = json.dumps(_json_object(metadata) | {"name": name})
    named = [("artifact", path) for path in files] + ([("reference", reference)] if reference else [])
    with ExitStack() as opened:
        parts = [(part, (path.name, opened.enter_context(path.open("rb")))) for part, path in named]
        _print(_call("POST", "/models", data={"metadata": details}, files=parts))


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"not JSON: {error}", param_hint="--metadata") from None
    if not isinstance(value, dict):
        raise typer.BadParameter('not an object such as {"target": "churned"}', param_hint="--metadata")
    return value


def _verb(verb: str, reference: str, reason: str, **more: Any) -> None:
    _print(_call("POST", f"{_address(reference)}/{verb}", json={"reason": reason} | more))


Reason = Annotated[str, typer.Option(help="Why; kept in the audit trail.")]


@models.command("validate")
def validate(reference: Reference, reason: Reason = "") -> None:
    """Try a version at the gate before staging."""
    _verb("validate", reference, reason)


@models.command("promote")
def promote(reference: Reference, reason: Reason = "") -> None:
    """Let a version answer production traffic."""
    _verb("promote", reference, reason)


@models.command("rollback")
def rollback(reference: Reference, reason: Reason = "") -> None:
    """Return to the previous production version."""
    _verb("rollback", reference, reason)


def main() -> None:
    """The entry point."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    cli()


if __name__ == "__main__":
    main()
