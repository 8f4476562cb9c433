"""Requests that can be read but are wrong: each fault is told of where it is, with the way out."""

from collections.abc import Mapping

import pytest
from pydantic import Field, ValidationError, model_validator

from app.core.wire import Incoming, Line, said_of


class Part(Incoming):
    size: int = Field(3, ge=2)
    name: Line = "a"

    @model_validator(mode="after")
    def is_even(self):
        if self.size == 99:
            raise ValueError("is {odd}")
        return self


class Whole(Incoming):
    weight: float
    parts: tuple[Part, ...] = ()
    named: Mapping[str, Part] = Field(default_factory=dict)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"weigth": 1, "weight": 1}, {("weigth",): "is not known here; known are weight, named, parts"}),
        ({"weight": 1, "parts": [{"nam": 1}]}, {("parts", 0, "nam"): "is not known here; known are name, size"}),
        ({"weight": 1, "named": {"a": {"x": 1}}}, {("named", "a", "x"): "is not known here; known are name, size"}),
        (
            {"weight": "{k}", "parts": [{"size": 1}, {"size": 99}, {"name": "\0"}]},
            {
                ("weight",): "Input should be a valid number, unable to parse string as a number",
                ("parts", 0, "size"): "Input should be greater than or equal to 2",
                ("parts", 1): "is {odd}",
                ("parts", 2, "name"): "holds a NUL character, which can't be stored",
            },
        ),
        ([1], {(): "Input should be a valid dictionary or instance of Whole"}),
    ],
)  # fmt: skip
def test_each_fault_is_told_of_at_its_place(given, told):
    with pytest.raises(ValidationError) as refused:
        Whole.model_validate(given)
    assert {fault["loc"]: said_of(fault) for fault in refused.value.errors()} == told


async def test_a_misspelt_field_is_told_with_the_one_that_was_meant(shared_client):
    answer = await shared_client.post(
        "/api/system/silences", json={"modle": "a", "until": "2030-01-01T00:00:00Z"}
    )
    assert answer.status_code == 422
    [error] = [each for each in answer.json()["errors"] if each["field"] == "modle"]
    assert error["problem"].startswith("is not known here; known are model, ")
