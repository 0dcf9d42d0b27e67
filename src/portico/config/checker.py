"""From a document to a `Config`, with every problem found in one go and the place of each.

The keys are OpenClaw's (https://docs.openclaw.ai/gateway/configuration). A key that only OpenClaw uses is passed over in silence.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, Literal

from portico.config import foreign_keys
from portico.config.effective import Effective
from portico.config.model_checker import read_provider
from portico.config.problem import Report
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
)
from portico.config.section import Section
from portico.paths import UnknownHome, expanded

if TYPE_CHECKING:
    from collections.abc import Callable

    from portico.config.document import Document
    from portico.config.problem import Problem

_ALLOW: Final[tuple[Literal["listed", "all"], ...]] = ("listed", "all")
_MODES: Final[tuple[Literal["merge", "replace"], ...]] = ("merge", "replace")
_STORES: Final[tuple[Literal["keyring", "file"], ...]] = ("keyring", "file")
_PROFILE_MODES: Final[tuple[Literal["api_key", "oauth", "token"], ...]] = ("api_key", "oauth", "token")
_HISTORY: Final = ("on", "off")
_OWN: Final = ("env", "auth", "models", "agents", "plugins", "gateway", "base", "history", "$include")


def is_known(section: str) -> bool:
    """Whether Portico or OpenClaw has a use for this top-level key."""
    return section in _OWN or section in foreign_keys.SECTIONS


def check(source: Document | Effective) -> tuple[Config, list[Problem]]:
    """What `source` says, and all that is wrong with it, in the order of the text."""
    effective = source if isinstance(source, Effective) else Effective(source)
    report = Report(effective)
    for path, origin in effective.hidden():
        report.warn(path, "is written twice; the later one counts", origin=origin)
    value = effective.value()
    if not isinstance(value, dict):
        report.error((), "must be an object")
        return Config(), report.problems
    top = Section(report, (), value)
    config = Config(
        env=_env(top.section("env")),
        auth=_auth(top.section("auth")),
        models=_models(top.section("models")),
        agents=_agents(top.section("agents")),
        plugins=_plugins(top.section("plugins"), report),
        gateway=_gateway(top.section("gateway")),
        base=top.text("base"),
        history=top.word("history", _HISTORY) != "off",
    )
    top.finish(foreign_keys.SECTIONS, tells_base=False)
    return config, sorted(report.problems, key=in_order_of(effective.document.name))


def in_order_of(name: str) -> Callable[[Problem], tuple[bool, bool, str, int, int]]:
    """The order of problems: the file called `name` first, then what it includes, then the base; by line and column."""

    def key(problem: Problem) -> tuple[bool, bool, str, int, int]:
        file, line, column = problem.where.rsplit(":", 2)
        return problem.layer == "base", file != name, file, int(line), int(column)

    return key


def _env(env: Section) -> dict[str, str]:
    """Both forms; a variable that the base has in the one form gives way to the own file's in the other."""
    shared = env.section("vars")
    found = {name: shared.text(name) for name, value in shared.members.items() if value != ""}
    for name, value in env.members.items():
        if value == "" or name in {"vars", "shellEnv"}:
            continue
        text = env.text(name)
        if name not in found or env.is_own(name) or not shared.is_own(name):
            found[name] = text
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
    providers = {id: provider for id, section in models.sections("providers") if (provider := read_provider(section))}
    models.finish(foreign_keys.MODELS)
    return ModelsConfig(mode, providers)


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
        settings.finish(foreign_keys.MODEL_SETTINGS)
    allow = defaults.word("allow", _ALLOW) or "listed"
    defaults.finish(foreign_keys.AGENT_DEFAULTS)
    agents.finish(["list"])
    return AgentDefaults(primary, fallbacks or (), models, allow)


def _plugins(plugins: Section, report: Report) -> PluginsConfig:
    load = plugins.section("load")
    enabled = plugins.flag("enabled")
    config = PluginsConfig(
        enabled=enabled if enabled is not None else True,
        allow=plugins.texts("allow"),
        deny=plugins.texts("deny") or (),
        load_paths=load.texts("paths") or (),
        entries=_entries(plugins.section("entries"), report),
    )
    for index, path in enumerate(config.load_paths):
        try:
            expanded(path, "the path")
        except UnknownHome as error:
            report.warn((*load.path, "paths", index), f"{error.fault}: no plugin is looked for there", error.hint, of_key=False)
    load.finish()
    plugins.finish(["slots", "installs"])
    return config


def _entries(entries: Section, report: Report) -> dict[str, PluginEntry]:
    """The plugins' entries; what is wrong with one keeps its own plugin from being used and stops nothing else."""
    found = {}
    for id in entries.members:
        before = len(report.problems)
        section = entries.section(id)
        entry = PluginEntry(section.flag("enabled"), section.section("config").members, inherited=not entries.is_own(id))
        section.finish(foreign_keys.PLUGIN_ENTRY)
        report.problems[before:] = [replace(problem, plugin=id) for problem in report.problems[before:]]
        errors = "; ".join(str(problem) for problem in report.problems[before:] if problem.level == "error")
        found[id] = replace(entry, problem=errors) if errors else entry
    return found


def _gateway(gateway: Section) -> GatewayConfig:
    port = gateway.integer("port", 1, 65535)
    models = gateway.texts_by_name("models")
    gateway.finish(foreign_keys.GATEWAY)
    return GatewayConfig(port if port is not None else DEFAULT_PORT, models)
