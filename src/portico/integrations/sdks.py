"""Make clients of the official SDKs of Anthropic and OpenAI. Each SDK is imported on first use.

See https://docs.claude.com/en/api/client-sdks and https://platform.openai.com/docs/libraries. In the OpenAI SDK
`chat.completions` needs a model with the protocol `openai-completions`, and `responses` one with `openai-responses`.
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
"""The key for an SDK that requires one; `PorticoAuth` replaces it in each request."""


def loaded(model: Model | str | None) -> Model:
    """Return `model`, or load the model with this name; None is the default model."""
    return model if isinstance(model, Model) else load_model(model)


def base_for(model: Model, *kinds: ApiKind) -> str:
    """Return the base URL of `model` for the first protocol in `kinds` that it has.

    Raises:
        NoSuchProtocol: the model has none of them.
    """
    base = next((model.bases[kind] for kind in kinds if kind in model.bases), None)
    if base is None:
        message = f"{model.reference} is not served over {' or '.join(kinds)}."
        raise NoSuchProtocol(message, hint=f"It is served over {', '.join(model.bases)}.")
    return base


_API: Final[ApiKind] = "anthropic-messages"


def anthropic_client(model: Model | str | None = None, **options: Any) -> anthropic.Anthropic:
    """Make an `anthropic.Anthropic` for `model`, by default the default model; `options` are the SDK's.

    Raises:
        PorticoError: the model cannot be called, or does not have this protocol.
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
    """Return the base URL without the version, which the SDK adds."""
    return base_for(model, _API).removesuffix("/v1")


def openai_client(model: Model | str | None = None, **options: Any) -> openai.OpenAI:
    """Make an `openai.OpenAI` for `model`, by default the default model; `options` are the SDK's.

    Raises:
        PorticoError: the model cannot be called, or has neither of OpenAI's protocols.
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
