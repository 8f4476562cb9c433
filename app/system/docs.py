"""Pages for people: the API documentation, which needs no internet, and what each problem means."""

import asyncio
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from app.core.access import anyone
from app.core.errors import NotFound
from app.core.hosts import docs_policy
from app.system.pages import HERE, TEMPLATES
from app.system.problem_pages import list_problems

router = APIRouter(dependencies=[anyone()], include_in_schema=False)
FILES = StaticFiles(directory=HERE / "static")
FOR_A_DAY = "public, max-age=86400"
POLICY = {"Content-Security-Policy": docs_policy()}


@dataclass(eq=False)
class ProblemUnknown(NotFound):
    """No problem has this name.

    Pages under `/problems` are named as the `type` of an answer of this service ends. No kind of problem has
    the name `slug`; it may be one of another version of the service.
    """

    slug: str

    def detail(self) -> str:
        return f"There is no problem {self.slug!r}; /problems lists those that there are."


@router.get("/")
async def go_to_docs() -> RedirectResponse:
    """The way in for people."""
    return RedirectResponse("/docs")


@router.get("/docs")
async def show_docs(request: Request) -> Response:
    """The API as pages to try it out on."""
    return await _file(request, "swagger.html")


@router.get("/redoc")
async def show_reference(request: Request) -> Response:
    """The API as a reference to read."""
    return await _file(request, "redoc.html")


@router.get("/openapi.json")
async def read_openapi(request: Request) -> dict[str, Any]:
    """The API's own description."""
    described: dict[str, Any] = await asyncio.to_thread(request.app.openapi)  # nearly a second, once
    return described


@router.get("/static/{path:path}")
async def read_static(path: str, request: Request) -> Response:
    """A file that the pages use."""
    answer = await FILES.get_response(path, request.scope)
    answer.headers["Cache-Control"] = FOR_A_DAY
    return answer


async def _file(request: Request, name: str) -> Response:
    answer = await FILES.get_response(name, request.scope)
    answer.headers.update(POLICY)
    return answer


@router.get("/problems", response_class=HTMLResponse)
async def show_problems() -> str:
    """Every kind of problem."""
    page = TEMPLATES.get_template("problems.html")
    return page.render(problem=None, problems=list_problems().values())


@router.get("/problems/{slug}", response_class=HTMLResponse)
async def show_problem(slug: str) -> str:
    """One kind of problem."""
    problem = list_problems().get(slug)
    if problem is None:
        raise ProblemUnknown(slug)
    return TEMPLATES.get_template("problems.html").render(problem=problem, problems=())
