"""Whether a request would be answered: a credential for each model in use, and addresses that fit their protocol."""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit, urlunsplit

from portico.config.config_path import format_path
from portico.config.references import model_names
from portico.doctor.finding import Found, Saw, Skipped
from portico.errors import PorticoError, SignInNeeded
from portico.models.catalog import host_of
from portico.models.endpoints import declared_hosts
from portico.models.unknown import first_step, is_signed_in_to
from portico.store.remedy import SIGNED_OUT, sign_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from portico.config.config_path import ConfigPath
    from portico.contracts import ApiKind, ProviderSpec
    from portico.doctor.finding import Level, Seen
    from portico.doctor.patient import Patient
    from portico.models.loader import ModelLoader

_ANSWERED_404: Final = "Each request to it is answered with an error, mostly 404."
_NOTHING: Final = "No model can answer: there is no account, no environment key and no key in the config."


def credentials(patient: Patient) -> Iterator[Seen]:
    """Nobody is signed in and there is no key, or a model in use has no credential."""
    if patient.config is None or patient.models is None:
        yield Skipped("the configuration cannot be read")
        return
    config, loader = patient.config.config, patient.models
    primary = config.agents.primary
    if not _anything_set_up(loader, patient) and _is_of_a_sign_in(primary, loader):
        yield Found("not-signed-in", "error", SIGNED_OUT, _NOTHING, sign_in())
        return
    if primary is None:
        yield Saw("no default model is set")
    for path, text in model_names(config):
        try:
            loader.check(text)
        except PorticoError:
            continue  # a name that means nothing is a finding of `references`
        try:
            model = loader.load(text)
        except PorticoError as error:
            yield _unanswered(path, text, error, loader)
        else:
            yield Saw(f"{text}: {model.source}")


def _anything_set_up(loader: ModelLoader, patient: Patient) -> bool:
    providers = loader.catalog.providers.values()
    has_key = any(credential.key is not None for provider in providers for credential in loader.credentials.of(provider))
    return has_key or any(not profile.sign_out_unfinished for profile in patient.profiles)


def _is_of_a_sign_in(primary: str | None, loader: ModelLoader) -> bool:
    """Whether signing in is what the default model needs, or what somebody without one begins with."""
    if primary is None:
        return True
    try:
        provider = loader.catalog.providers.get(loader.reference(primary).provider)
    except PorticoError:
        return False
    return provider is not None and is_signed_in_to(provider)


def _unanswered(path: ConfigPath, text: str, error: PorticoError, loader: ModelLoader) -> Found:
    level: Level = "error" if path[-1] == "primary" else "warning"
    message = f"{format_path(path)} names {text}, which cannot be called: {error.message}"
    hint = error.hint
    if isinstance(error, SignInNeeded):
        provider = loader.catalog.providers[loader.reference(text).provider]
        message = f"{format_path(path)} names {text}, and there is no credential for {provider.id}."
        hint = f"Run `{first_step(provider)}`."
    if level == "error" and (instead := _answers_instead(loader)) is not None:
        level, message = "warning", f"{message} {instead} answers instead."
    return Found(error.id, level, message, error.why, hint)


def _answers_instead(loader: ModelLoader) -> str | None:
    try:
        return str(loader.resolve().model.reference)
    except PorticoError:
        return None


def base_urls(patient: Patient) -> Iterator[Seen]:
    """A `baseUrl` at which the provider's `api` is not served."""
    if patient.config is None or patient.models is None:
        yield Skipped("the configuration cannot be read")
        return
    configured = 0
    for id, provider in patient.models.catalog.providers.items():
        url = provider.config.base_url if provider.config is not None else None
        if url is None or "${" in url or provider.api is None:
            continue
        configured += 1
        change = misfit(url, provider.api, provider.spec)
        if change is None:
            continue
        key, value = change
        place = format_path(("models", "providers", id))
        message = f"{place}.baseUrl is {url}, which is not the base URL of its api, {provider.api}."
        command = f"{{prog}} config set {quote(f'{place}.{key}')} {quote(value)}"
        yield Found("base-url-of-another-api", "error", message, _ANSWERED_404, command)
    yield Saw(f"{configured} in the configuration" if configured else "none in the configuration: the plugins' own are used")


def misfit(url: str, api: ApiKind, spec: ProviderSpec | None) -> tuple[str, str] | None:
    """The key of the provider's block to change and its right value, if `api` is not served at `url`; None if it may be.

    A path that no rule knows may be right. The address of a single endpoint is found when the configuration is read.
    """
    parts = urlsplit(url)
    path = parts.path.rstrip("/")
    own = spec.paths if spec is not None and host_of(url) in declared_hosts(spec) else {}
    if api in own and path != own[api] and path in own.values():
        return "baseUrl", urlunsplit((parts.scheme, parts.netloc, own[api], "", ""))
    if path.endswith("/anthropic") and api != "anthropic-messages":
        return "api", "anthropic-messages"
    return None
