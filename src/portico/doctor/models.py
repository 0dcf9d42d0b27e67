"""Whether a request would be answered: a credential for each model in use, and addresses that fit their protocol."""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING, Final

from portico.config.document import format_path
from portico.config.load import model_names
from portico.doctor.finding import Found, Saw, Skipped, of_error
from portico.errors import ConfigError, PorticoError, SignInNeeded
from portico.models.endpoints import checked_base_url, misfits
from portico.models.reference import KeyNotSet, first_step, is_signed_in_to
from portico.store.profiles import SIGNED_OUT, sign_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from portico.config.document import ConfigPath
    from portico.doctor.finding import Level, Seen
    from portico.doctor.patient import Patient
    from portico.models.loader import ModelLoader

_OF_BASE_URLS: Final = "base-url-refused"  # a finding of `base_urls`, once for each provider and not for each of its models
_MAYBE_404: Final = "Many providers have Anthropic's protocol under /anthropic, and answer any other there with 404."
_NOTHING: Final = "No model can answer: there is no account, no environment key and no key in the config."


def credentials(patient: Patient) -> Iterator[Seen]:
    """Nobody is signed in and there is no key, or a model in use has no credential."""
    if patient.config is None or patient.models is None:
        yield Skipped("the configuration cannot be read")
        return
    config, loader = patient.config.config, patient.models
    primary = config.agents.primary
    if not _anything_set_up(patient) and _is_of_a_sign_in(primary, loader):
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
            if error.id == _OF_BASE_URLS:
                yield Saw(f"{text}: see the addresses of the providers")
            else:
                yield _unanswered(path, text, error, loader)
        else:
            yield Saw(f"{text}: {model.source}")


def _anything_set_up(patient: Patient) -> bool:
    return patient.has_key or any(not profile.sign_out_unfinished for profile in patient.profiles)


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
    if isinstance(error, SignInNeeded) and not isinstance(error, KeyNotSet):
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
    """A `baseUrl` to which nothing is sent, or at which the provider's `api` is hardly served."""
    if patient.config is None or patient.models is None:
        yield Skipped("the configuration cannot be read")
        return
    catalog, env = patient.models.catalog, patient.here.env
    for provider in catalog.providers.values():
        try:
            own = [model.api for model in provider.config.models] if provider.config is not None else []
            checked_base_url(provider, "", env, catalog.specs.values(), own=own)
        except ConfigError as error:
            if error.id == _OF_BASE_URLS:
                yield of_error(error)
    config = patient.config.config
    for block, wrong in misfits(config, [*catalog.specs.values()]):
        if not wrong.is_certain:
            place = format_path(block)
            message = f"{place}.baseUrl {wrong.message}: {config.models.providers[str(block[-1])].base_url}"
            hint = f"{{prog}} config set {quote(f'{place}.{wrong.key}')} {quote(wrong.instead)}"
            yield Found("base-url-of-another-api", "warning", message, _MAYBE_404, hint)
    written = sum(provider.config is not None and provider.config.base_url is not None for provider in catalog.providers.values())
    yield Saw(f"{written} in the configuration" if written else "none in the configuration: the plugins' own are used")
