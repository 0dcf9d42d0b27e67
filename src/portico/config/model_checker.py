"""Reading the providers and models of a configuration; `models.json` has the same models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, get_args

from portico.config import foreign_keys
from portico.config.schema import CostConfig, ModelConfig, ProviderConfig
from portico.contracts import ApiKind
from portico.secret import Secret
from portico.urls import is_loopback, why_not_a_safe_url

if TYPE_CHECKING:
    from portico.config.section import Section

API_KINDS: Final[tuple[ApiKind, ...]] = get_args(ApiKind)


def read_provider(provider: Section) -> ProviderConfig | None:
    """The provider, None where only OpenClaw can speak to it."""
    foreign = _speaks_another_protocol(provider)
    config = ProviderConfig(
        base_url=_base_url(provider),
        api=None if foreign else provider.word("api", API_KINDS),
        api_key=_key(provider),
        auth_header=provider.flag("authHeader"),
        headers=provider.texts_by_name("headers"),
        models=tuple(model for each in provider.elements("models") if (model := read_model(each))),
    )
    provider.finish(foreign_keys.PROVIDER)
    return None if foreign else config


def read_model(model: Section) -> ModelConfig | None:
    """The model, None where it has no id."""
    id = model.text("id")
    if "id" not in model.members:
        model.missing("id")
    config = ModelConfig(
        id=id or "",
        name=model.text("name"),
        reasoning=model.flag("reasoning"),
        input=model.texts("input"),
        context_window=model.integer("contextWindow", 1),
        max_tokens=model.integer("maxTokens", 1),
        cost=_cost(model.section("cost")),
        headers=model.texts_by_name("headers"),
    )
    model.finish(foreign_keys.MODEL)
    return config if id else None


def _cost(cost: Section) -> CostConfig | None:
    prices = CostConfig(
        input=cost.amount("input"),
        output=cost.amount("output"),
        cache_read=cost.amount("cacheRead"),
        cache_write=cost.amount("cacheWrite"),
    )
    cost.finish()
    return prices if prices != CostConfig() else None


def _speaks_another_protocol(provider: Section) -> bool:
    api = provider.members.get("api")
    if not isinstance(api, str) or api in API_KINDS:
        return False
    if api not in foreign_keys.API_KINDS and provider.is_own("api"):
        return False
    provider.skip("api")  # a base that OpenClaw reads may name protocols that came later
    return True


def _key(provider: Section) -> Secret | None:
    """The key as it is written; of OpenClaw's references to secrets, those to the environment as `${VAR}`."""
    written = provider.members.get("apiKey")
    if isinstance(written, dict):
        provider.skip("apiKey")
        name = written.get("id")
        if written.get("source") == "env" and isinstance(name, str):
            return Secret(f"${{{name}}}")
        provider.doubt("apiKey", "is a reference that only OpenClaw follows; it is not used")
        return None
    key = provider.text("apiKey")
    return Secret(key) if key is not None else None


def _base_url(provider: Section) -> str | None:
    """The URL, if requests may go to it; one with `${VAR}` in it is looked at when that is resolved."""
    url = provider.text("baseUrl")
    if url is None or "${" in url:
        return url
    why = why_not_a_base_url(url)
    if why is not None:
        hint = "write its host as it is in DNS: xn--..." if not url.isascii() else None
        provider.wrong("baseUrl", f"cannot be used: {why}", hint)
    elif url.startswith("http://") and not is_loopback(_host(url)):
        provider.doubt("baseUrl", "is plain http: whoever shares that network can read the key and every answer")
    return url


def why_not_a_base_url(url: str) -> str | None:
    """Why requests may not go to `url`, in a few words that hold nothing of it; None where they may."""
    return why_not_a_safe_url(url, nearby=True) or ("it has a query" if "?" in url else None)


def _host(url: str) -> str:
    from urllib.parse import urlsplit

    return urlsplit(url).hostname or ""
