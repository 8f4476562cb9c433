"""The OpenAPI document against the service: Schemathesis makes requests from it, and judges the answers by it (D13)."""

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
)

from app.core.config import Settings
from app.main import create_app
from tests.faults.houses import open_house
from tests.real_models import register

CHECKS = [
    not_a_server_error,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
DOCUMENT = create_app(Settings(database_url="postgresql://nobody@localhost/none")).openapi()
OPERATIONS = [result.ok() for result in schemathesis.openapi.from_dict(DOCUMENT).get_all_operations()]
EXAMPLES = 6


@pytest.fixture(scope="module")
async def client(postgres_url, template, tmp_path_factory):
    directory = tmp_path_factory.mktemp("document")
    async with open_house(postgres_url, template, directory, "document") as (_, client, _):
        assert (await register(client, "breast-cancer")).status_code == 201
        yield client


def made_of(operation):
    """Requests that the document allows, the same ones in every run."""
    made = []

    @settings(
        max_examples=EXAMPLES, derandomize=True, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=[*HealthCheck],
    )  # fmt: skip
    @given(case=operation.as_strategy())
    def collect(case):
        made.append(case)

    collect()
    return made


def as_httpx_takes_it(request):
    """What was made for `requests`: bytes are its `data`, and cookies may be none."""
    if isinstance(request.get("data"), bytes | str):
        request["content"] = request.pop("data")
    return {name: value for name, value in request.items() if name != "cookies" and value is not None}


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
async def test_what_the_document_allows_is_answered_as_it_says(client, operation):
    for case in made_of(operation):
        request = client.build_request(**as_httpx_takes_it(case.as_transport_kwargs("http://localhost")))
        await request.aread()
        answer = await client.send(request)
        case.validate_response(answer, checks=CHECKS)
