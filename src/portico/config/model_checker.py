"""Reading the providers and models of a configuration; `models.json` has the same models."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final, get_args

from portico.config import foreign_keys
from portico.config.environment import holds_reference
from portico.config.schema import FRAMING, CostConfig, ModelConfig, ProviderConfig, TierConfig
from portico.interfaces.provider_spec import ApiKind
from portico.secret import Secret
from portico.urls import endpoint_end, is_in_the_clear, normalised_base_url, why_not_a_base_url

if TYPE_CHECKING:
    from portico.config.section import Section

API_KINDS: Final[tuple[ApiKind, ...]] = get_args(ApiKind)
# RFC 9110 section 5.6.2; a header name of HTTP.
_TOKEN: Final = re.compile(r"[!#$%&'*+.^`|~\w-]+", re.ASCII)
_LINE_BREAK: Final = re.compile(r"[\r\n\0]")


def read_provider(provider: Section) -> ProviderConfig | None:
    """The provider, None where only OpenClaw can speak to it."""
    foreign = _speaks_another_protocol(provider)
    base_url, problem = _base_url(provider)
    config = ProviderConfig(
        base_url=base_url,
        api=None if foreign else provider.word("api", API_KINDS),
        api_key=_key(provider),
        auth_header=provider.flag("authHeader"),
        headers=_headers(provider),
        models=tuple(model for each in provider.elements("models") if (model := read_model(each))),
        problem=problem,
    )
    provider.finish(foreign_keys.PROVIDER)
    if not foreign:
        return config
    spoken = tuple(model for model in config.models if model.api is not None)
    return replace(config, models=spoken) if spoken else None


def read_model(model: Section) -> ModelConfig | None:
    """The model, None where it has no id or only OpenClaw can speak to it."""
    id = model.text("id")
    if "id" not in model.members:
        model.missing("id")
    foreign = _speaks_another_protocol(model)
    config = ModelConfig(
        id=id or "",
        name=model.text("name"),
        api=None if foreign else model.word("api", API_KINDS),
        reasoning=model.flag("reasoning"),
        input=model.texts("input"),
        context_window=model.integer("contextWindow", 1),
        max_tokens=model.integer("maxTokens", 1),
        cost=_cost(model.section("cost")),
        headers=_headers(model),
    )
    model.finish(foreign_keys.MODEL)
    return config if id and not foreign else None


def _headers(section: Section) -> dict[str, str]:
    """The headers that can be sent as they are written."""
    named = section.section("headers")
    found = {}
    for name in named.members:
        value = named.text(name)
        if value is None:
            continue
        if not _TOKEN.fullmatch(name):
            named.unusable(name, "is no name of a header", "write letters, digits and hyphens, such as X-Team", alone=True)
        elif _LINE_BREAK.search(value):
            named.unusable(name, "holds a line break, which no header may", "write it in one line", alone=True)
        elif name.lower() in FRAMING:
            named.doubt(name, "is Portico's own to send; it has no effect", "leave it out")
        else:
            found[name] = value
    return found


def _cost(cost: Section) -> CostConfig | None:
    prices = CostConfig(
        input=cost.amount("input"),
        output=cost.amount("output"),
        cache_read=cost.amount("cacheRead"),
        cache_write=cost.amount("cacheWrite"),
        tiers=_tiers(cost) if "tiers" in cost.members else None,
    )
    cost.finish()
    return prices if prices != CostConfig() else None


def _tiers(cost: Section) -> tuple[TierConfig, ...]:
    found: dict[int, TierConfig] = {}
    for index, tier in enumerate(cost.elements("tiers")):
        above = tier.integer("inputAbove", 1)
        if "inputAbove" not in tier.members:
            tier.missing("inputAbove")
        elif above in found:
            tier.wrong("inputAbove", "is the same as that of an earlier tier")
        read = TierConfig(
            above or 0,
            input=tier.amount("input"),
            output=tier.amount("output"),
            cache_read=tier.amount("cacheRead"),
            cache_write=tier.amount("cacheWrite"),
        )
        tier.finish()
        found.setdefault(above or -index, read)
    return tuple(tier for tier in found.values() if tier.input_above)


def _speaks_another_protocol(section: Section) -> bool:
    api = section.members.get("api")
    if not isinstance(api, str) or api in API_KINDS:
        return False
    if api not in foreign_keys.API_KINDS and section.is_own("api"):
        return False
    section.skip("api")  # a base that OpenClaw reads may name protocols that came later
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


def _base_url(provider: Section) -> tuple[str | None, str | None]:
    """The URL, if requests may go to it; and why they may not. One with `${VAR}` in it is looked at when that is resolved."""
    written = provider.text("baseUrl")
    if written is None:
        return None, None
    url = normalised_base_url(written)
    if written != written.strip():
        provider.doubt("baseUrl", "has blanks around it, which are left out", "write it without them", standing=True)
    if holds_reference(url):
        return url, None
    why = why_not_a_base_url(url)
    if why is not None:
        return None, provider.unusable("baseUrl", f"cannot be used: {why}", hint_for_base_url(url))
    if is_in_the_clear(url):
        message = "is plain http: whoever shares that network can read the key and every answer"
        provider.doubt("baseUrl", message, standing=True)
    return url, None


def hint_for_base_url(url: str) -> str | None:
    """What to write in the place of a base URL that cannot be used, where that is known."""
    end = endpoint_end(url)
    if end is not None:
        return f"write it without `{end}`"
    return None if url.isascii() else "write its host as it is in DNS: xn--..."
