"""The official Anthropic SDK (https://docs.claude.com/en/api/client-sdks), with a model of this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import anthropic

from portico.integrations.httpx_auth import PorticoAuth
from portico.integrations.serving import PLACEHOLDER_KEY, base_for, loaded

if TYPE_CHECKING:
    from portico.interfaces.provider_spec import ApiKind
    from portico.library.model import Model

_API: Final[ApiKind] = "anthropic-messages"


def anthropic_client(model: Model | str | None = None, **options: Any) -> anthropic.Anthropic:
    """An `anthropic.Anthropic` for `model`, the default model where there is none; `options` are the SDK's own.

    Raises:
        PorticoError: the model cannot be called, or is not served over this protocol (`no-such-protocol`).
    """
    model = loaded(model)
    http = anthropic.DefaultHttpxClient(auth=PorticoAuth(model), follow_redirects=False)
    return anthropic.Anthropic(base_url=_base(model), auth_token=PLACEHOLDER_KEY, http_client=http, **options)


def async_anthropic_client(model: Model | str | None = None, **options: Any) -> anthropic.AsyncAnthropic:
    """As `anthropic_client`, for asynchronous programs."""
    model = loaded(model)
    http = anthropic.DefaultAsyncHttpxClient(auth=PorticoAuth(model), follow_redirects=False)
    return anthropic.AsyncAnthropic(base_url=_base(model), auth_token=PLACEHOLDER_KEY, http_client=http, **options)


def _base(model: Model) -> str:
    """The base as the SDK takes it, which adds the version itself."""
    return base_for(model, _API).removesuffix("/v1")
