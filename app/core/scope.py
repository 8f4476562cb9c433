"""Questions about the service as a whole are not for keys that are limited to some models."""

from dataclasses import dataclass
from typing import Any

from fastapi import Depends, Request

from app.core.access import Caller, caller_of
from app.core.errors import Forbidden
from app.core.keys import EVERY_MODEL


@dataclass(eq=False)
class KeyTooNarrow(Forbidden):
    """The key is limited to some models, and this concerns all of them.

    Rules, channels and settings concern every model. A key that is limited to some of them may neither see nor
    change what is about all.
    """

    models: list[str]

    def detail(self) -> str:
        return f"This needs a key for every model; the key that was used is for {', '.join(self.models)}."


def require_every_model(caller: Caller) -> None:
    """Refuse a caller who may see only some models.

    Raises:
        KeyTooNarrow: the key is limited.
    """
    if not set(EVERY_MODEL) <= set(caller.models):
        raise KeyTooNarrow(list(caller.models))


async def _require_every_model(request: Request) -> None:
    require_every_model(caller_of(request))


def for_every_model() -> Any:
    """The declaration, beside a role, of a route that keys limited to some models may not use."""
    return Depends(_require_every_model)
