"""The official SDKs of Anthropic and OpenAI, set up with a model of this machine. Each is imported once it is asked for.

https://docs.claude.com/en/api/client-sdks and https://platform.openai.com/docs/libraries: there `chat.completions` needs a model
that is served over `openai-completions`, `responses` one over `openai-responses`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from portico.library.model import Model, load_model
from portico.models.loader import NoSuchProtocol
from portico.models.protocols import versioned

if TYPE_CHECKING:
    import anthropic
    import openai

    from portico.interfaces.plugins import ApiKind

PLACEHOLDER_KEY: Final = "replaced-in-each-request"
"""Stands where an SDK insists on a key; the one that is sent is put in by `PorticoAuth`."""


def loaded(model: Model | str | None) -> Model:
    """The model itself where it was given as a name, or not at all."""
    return model if isinstance(model, Model) else load_model(model)


def base_for(model: Model, *kinds: ApiKind) -> str:
    """Where `model` is served over the first of `kinds` that it is served over.

    Raises:
        UsageError: `no-such-protocol`, with those that it has.
    """
    base = next((model.bases[kind] for kind in kinds if kind in model.bases), None)
    if base is None:
        message = f"{model.reference} is not served over {' or '.join(kinds)}."
        raise NoSuchProtocol(message, hint=f"It is served over {', '.join(model.bases)}.")
    return base


_API: Final[ApiKind] = "anthropic-messages"


def anthropic_client(model: Model | str | None = None, **options: Any) -> anthropic.Anthropic:
    """An `anthropic.Anthropic` for `model`, the default model where there is none; `options` are the SDK's own.

    Raises:
        PorticoError: the model cannot be called, or is not served over this protocol (`no-such-protocol`).
    """
    import anthropic

    from portico.integrations.httpx_auth import PorticoAuth

    model = loaded(model)
    http = anthropic.DefaultHttpxClient(auth=PorticoAuth(model), follow_redirects=False)
    return anthropic.Anthropic(base_url=_anthropic_base(model), auth_token=PLACEHOLDER_KEY, http_client=http, **options)


def async_anthropic_client(model: Model | str | None = None, **options: Any) -> anthropic.AsyncAnthropic:
    """As `anthropic_client`, for asynchronous programs."""
    import anthropic

    from portico.integrations.httpx_auth import PorticoAuth

    model = loaded(model)
    http = anthropic.DefaultAsyncHttpxClient(auth=PorticoAuth(model), follow_redirects=False)
    return anthropic.AsyncAnthropic(base_url=_anthropic_base(model), auth_token=PLACEHOLDER_KEY, http_client=http, **options)


def _anthropic_base(model: Model) -> str:
    """The base as the SDK takes it, which adds the version itself."""
    return base_for(model, _API).removesuffix("/v1")


def openai_client(model: Model | str | None = None, **options: Any) -> openai.OpenAI:
    """An `openai.OpenAI` for `model`, the default model where there is none; `options` are the SDK's own.

    Raises:
        PorticoError: the model cannot be called, or is not served over these protocols (`no-such-protocol`).
    """
    import openai

    from portico.integrations.httpx_auth import PorticoAuth

    model = loaded(model)
    http = openai.DefaultHttpxClient(auth=PorticoAuth(model), follow_redirects=False)
    return openai.OpenAI(base_url=_openai_base(model), api_key=PLACEHOLDER_KEY, http_client=http, **options)


def async_openai_client(model: Model | str | None = None, **options: Any) -> openai.AsyncOpenAI:
    """As `openai_client`, for asynchronous programs."""
    import openai

    from portico.integrations.httpx_auth import PorticoAuth

    model = loaded(model)
    http = openai.DefaultAsyncHttpxClient(auth=PorticoAuth(model), follow_redirects=False)
    return openai.AsyncOpenAI(base_url=_openai_base(model), api_key=PLACEHOLDER_KEY, http_client=http, **options)


def _openai_base(model: Model) -> str:
    return versioned(base_for(model, "openai-completions", "openai-responses"))
