"""From a document to a `Config`, with every problem found in one go and the place of each.

The keys are OpenClaw's (https://docs.openclaw.ai/gateway/configuration). A key that only OpenClaw uses is passed over in silence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, get_args

from portico.config import foreign_keys
from portico.config.schema import (
    DEFAULT_PORT,
    AgentDefaults,
    AuthConfig,
    AuthProfile,
    Config,
    GatewayConfig,
    ModelsConfig,
    ModelSettings,
    PluginEntry,
    PluginsConfig,
    ProviderConfig,
)
from portico.config.section import Problem, Report, Section
from portico.contracts import ApiKind, ModelCost, ModelSpec
from portico.secret import Secret

if TYPE_CHECKING:
    from portico.config.document import Document

_MODES: Final[tuple[Literal["merge", "replace"], ...]] = ("merge", "replace")
_STORES: Final[tuple[Literal["keyring", "file"], ...]] = ("keyring", "file")
_PROFILE_MODES: Final[tuple[Literal["api_key", "oauth", "token"], ...]] = ("api_key", "oauth", "token")
_API_KINDS: Final[tuple[ApiKind, ...]] = get_args(ApiKind)


_OWN: Final = ("env", "auth", "models", "agents", "plugins", "gateway", "$include")


def is_known(section: str) -> bool:
    """Whether Portico or OpenClaw has a use for this top-level key."""
    return section in _OWN or section in foreign_keys.SECTIONS


def check(document: Document) -> tuple[Config, list[Problem]]:
    """What `document` says, and all that is wrong with it, in the order of the text."""
    report = Report(document)
    for path, where in document.duplicates():
        report.warn(path, "is written twice; the later one counts", where=where)
    value = document.value()
    if not isinstance(value, dict):
        report.error((), "must be an object")
        return Config(), report.problems
    top = Section(report, (), value)
    config = Config(
        env=_env(top.section("env")),
        auth=_auth(top.section("auth")),
        models=_models(top.section("models")),
        agents=_agents(top.section("agents")),
        plugins=_plugins(top.section("plugins")),
        gateway=_gateway(top.section("gateway")),
    )
    top.finish(foreign_keys.SECTIONS, warn=False)
    if "$include" in value:
        report.warn(("$include",), "is not read by Portico: what those files say has no effect")
    return config, sorted(report.problems, key=_place)


def _place(problem: Problem) -> tuple[int, int]:
    line, column = problem.where.rsplit(":", 2)[1:]
    return int(line), int(column)


def _env(env: Section) -> dict[str, str]:
    shared = env.section("vars")
    found = {name: shared.text(name) for name, value in shared.members.items() if value != ""}
    found |= {name: env.text(name) for name, value in env.members.items() if value != "" and name not in {"vars", "shellEnv"}}
    return {name: value for name, value in found.items() if value is not None}


def _auth(auth: Section) -> AuthConfig:
    profiles = {}
    for id, profile in auth.sections("profiles"):
        provider, mode, email = profile.text("provider"), profile.word("mode", _PROFILE_MODES), profile.text("email")
        if provider and mode:
            profiles[id] = AuthProfile(provider, mode, email)
        profile.finish()
    order = auth.section("order")
    orders = {provider: order.texts(provider) or () for provider in order.members}
    config = AuthConfig(profiles, orders, auth.word("store", _STORES))
    auth.finish(["cooldowns"])
    return config


def _models(models: Section) -> ModelsConfig:
    mode = models.word("mode", _MODES) or "merge"
    providers = {id: provider for id, section in models.sections("providers") if (provider := _provider(section))}
    models.finish(["bedrockDiscovery"])
    return ModelsConfig(mode, providers)


def _provider(provider: Section) -> ProviderConfig | None:
    """The provider, None where only OpenClaw can speak to it."""
    foreign = provider.members.get("api") in foreign_keys.API_KINDS
    key = provider.text("apiKey")
    headers = provider.section("headers")
    config = ProviderConfig(
        base_url=_url(provider, "baseUrl"),
        api=None if foreign else provider.word("api", _API_KINDS),
        api_key=Secret(key) if key is not None else None,
        auth_header=provider.flag("authHeader"),
        headers={name: value for name in headers.members if (value := headers.text(name)) is not None},
        models=tuple(spec for model in provider.elements("models") if (spec := _model(model))),
    )
    provider.finish(["auth", "api"])
    return None if foreign else config


def _url(section: Section, key: str) -> str | None:
    url = section.text(key)
    if url is not None and not url.lower().startswith(("https://", "http://", "${")):
        section.wrong(key, "must begin with https:// or http://")
    return url


def _model(model: Section) -> ModelSpec | None:
    id = model.text("id")
    if "id" not in model.members:
        model.missing("id")
    spec = ModelSpec(
        id=id or "",
        name=model.text("name") or id or "",
        context_window=model.integer("contextWindow", 1),
        max_tokens=model.integer("maxTokens", 1),
        cost=_cost(model.section("cost")),
        reasoning=model.flag("reasoning") or False,
        input=model.texts("input") or ("text",),
    )
    model.finish(foreign_keys.MODEL)
    return spec if id else None


def _cost(cost: Section) -> ModelCost | None:
    names = ("input", "output", "cacheRead", "cacheWrite")
    amounts = [cost.amount(name) or 0.0 for name in names]
    cost.finish()
    return ModelCost(*amounts) if cost.members else None


def _agents(agents: Section) -> AgentDefaults:
    defaults = agents.section("defaults")
    if isinstance(defaults.members.get("model"), str):
        primary, fallbacks = defaults.text("model"), None
    else:
        model = defaults.section("model")
        primary, fallbacks = model.text("primary"), model.texts("fallbacks")
        model.finish()
    models = {}
    for reference, settings in defaults.sections("models"):
        models[reference] = ModelSettings(settings.text("alias"))
        settings.finish(["params", "streaming"])
    defaults.finish(foreign_keys.AGENT_DEFAULTS)
    agents.finish(["list"])
    return AgentDefaults(primary, fallbacks or (), models)


def _plugins(plugins: Section) -> PluginsConfig:
    entries = {}
    for id, entry in plugins.sections("entries"):
        entries[id] = PluginEntry(entry.flag("enabled"), entry.section("config").members)
        entry.finish()
    load = plugins.section("load")
    enabled = plugins.flag("enabled")
    config = PluginsConfig(
        enabled=enabled if enabled is not None else True,
        allow=plugins.texts("allow"),
        deny=plugins.texts("deny") or (),
        load_paths=load.texts("paths") or (),
        entries=entries,
    )
    load.finish()
    plugins.finish(["slots", "installs"])
    return config


def _gateway(gateway: Section) -> GatewayConfig:
    port = gateway.integer("port", 1, 65535)
    gateway.finish(foreign_keys.GATEWAY)
    return GatewayConfig(port if port is not None else DEFAULT_PORT)
