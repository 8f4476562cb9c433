"""`switchyard models`: the commands that talk to a running service over HTTP."""

import json
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

models = typer.Typer(
    no_args_is_help=True,
    help="Register models, promote versions, roll back.\n\nThe main loop:\n\n"
    "\b\n"
    "switchyard models register churn model.skops --reference sample.csv\n"
    "switchyard models validate churn:1\n"
    "switchyard models promote churn:1 --reason 'better on May labels'\n"
    "switchyard models rollback churn --reason 'errors since the release'",
)

Reference = Annotated[str, typer.Argument(help="name, name:3, name:2.1.0 or name@alias")]
Reason = Annotated[str, typer.Option(help="Why; kept in the audit trail.")]


def leave(reason: str) -> NoReturn:
    """Say in one line why this is the end."""
    typer.echo(reason, err=True)
    raise typer.Exit(1) from None


def _call(method: str, path: str, **options: Any) -> Any:
    """Ask the service; print its problem and leave when it refuses."""
    import httpx

    base = os.environ.get("SWITCHYARD_URL", "http://127.0.0.1:8000")
    key = os.environ.get("SWITCHYARD_API_KEY")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        answer = httpx.request(method, f"{base}/api{path}", headers=headers, timeout=300, **options)
    except (httpx.TransportError, httpx.InvalidURL) as error:
        leave(
            f"no service at {base}: {str(error).rstrip('.')}. Start one with `switchyard serve`, or set SWITCHYARD_URL."
        )
    try:
        document = answer.json() if answer.content else {}
    except ValueError:
        leave(f"{base} is no Switchyard: {answer.status_code}, {answer.headers.get('content-type')}")
    if answer.is_error:
        leave(f"{document['title']}: {document['detail']}")
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
