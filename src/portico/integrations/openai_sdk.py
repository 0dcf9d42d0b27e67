"""The official OpenAI SDK (https://platform.openai.com/docs/libraries), with a model of this machine.

`chat.completions` needs a model that is served over `openai-completions`, `responses` one over `openai-responses`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import openai

from portico.integrations.httpx_auth import PorticoAuth
from portico.integrations.serving import PLACEHOLDER_KEY, base_for, loaded
from portico.models.protocols.completions import versioned

if TYPE_CHECKING:
    from portico.library.model import Model


def openai_client(model: Model | str | None = None, **options: Any) -> openai.OpenAI:
    """An `openai.OpenAI` for `model`, the default model where there is none; `options` are the SDK's own.

    Raises:
        PorticoError: the model cannot be called, or is not served over these protocols (`no-such-protocol`).
    """
    model = loaded(model)
    http = openai.DefaultHttpxClient(auth=PorticoAuth(model), follow_redirects=False)
    return openai.OpenAI(base_url=_base(model), api_key=PLACEHOLDER_KEY, http_client=http, **options)


def async_openai_client(model: Model | str | None = None, **options: Any) -> openai.AsyncOpenAI:
    """As `openai_client`, for asynchronous programs."""
    model = loaded(model)
    http = openai.DefaultAsyncHttpxClient(auth=PorticoAuth(model), follow_redirects=False)
    return openai.AsyncOpenAI(base_url=_base(model), api_key=PLACEHOLDER_KEY, http_client=http, **options)


def _base(model: Model) -> str:
    return versioned(base_for(model, "openai-completions", "openai-responses"))
