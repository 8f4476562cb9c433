"""The doors as one sub-application that stands in the way of requests: their paths are theirs to the last slash."""

from fastapi import FastAPI
from starlette.datastructures import State
from starlette.types import ASGIApp, Receive, Scope, Send

from app.core.problems import answer_errors_with_problems
from app.inference import invocations, open_inference
from app.inference.wording import find_words

OPERATIONS = (*open_inference.OPERATIONS, *invocations.OPERATIONS)


class InferenceApp:
    """Answers the requests of these doors and passes everything else on.

    Errors leave it as problem documents, as everybody's do; `Reworded` says them as each door's clients know them.
    `state` has `authenticate`, `predictor`, `routes`, `models`, `health` and `database`.
    """

    def __init__(self, app: ASGIApp, *, state: State) -> None:
        self._app = app
        self._door = FastAPI(
            routes=[operation.route() for operation in OPERATIONS],
            openapi_url=None,
            docs_url=None,
            redoc_url=None,
            redirect_slashes=False,
        )
        self._door.state = state
        answer_errors_with_problems(self._door)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on."""
        app = self._app if find_words(scope) is None else self._door
        await app(scope, receive, send)
