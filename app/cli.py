"""The `switchyard` command."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Annotated, Any
from uuid import UUID

import typer

import app
from app.cli_models import leave, models
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
cli.add_typer(keys, name="keys")
cli.add_typer(models, name="models")


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
        leave(f"the database refuses: {error.orig}")
    except (Refusal, RuntimeError, OSError) as error:
        leave(str(error))


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


def main() -> None:
    """The entry point."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    cli()


if __name__ == "__main__":
    main()
