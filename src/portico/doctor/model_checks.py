"""Checks of the models in use: their credentials and base URLs, the connection to their hosts, the clock, and the plans."""

from __future__ import annotations

import asyncio
import contextlib
from email.utils import parsedate_to_datetime
from shlex import quote
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from portico.config.document import format_path
from portico.config.load import model_names
from portico.doctor.finding import Examined, Finding, Skipped, of_error
from portico.errors import ConfigError, PorticoError, SignInNeeded
from portico.models.credentials import CredentialRefused
from portico.models.endpoints import BaseUrlRefused, checked_base_url, misfits
from portico.models.reference import KeyNotSet, is_signed_in_to, set_up_command
from portico.net import proxy
from portico.store.profiles import NOT_SIGNED_IN, sign_in
from portico.store.records import OAuthProfile
from portico.urls import is_nearby
from portico.usage.plan import PlanClient
from portico.util import signals

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from portico.config.document import ConfigPath
    from portico.doctor.finding import CheckContext, Level, Outcome
    from portico.models.loader import ModelLoader
    from portico.net.client import HttpClient

_MAYBE_404: Final = "Many providers serve only Anthropic's protocol under /anthropic, and answer other requests with 404."
_NOTHING: Final = "No model can answer: there is no account, no environment key and no key in the config."


def credentials(context: CheckContext) -> Iterator[Outcome]:
    """Find a model in use that has no credential, or an installation without any credential."""
    if context.config is None or context.models is None:
        yield Skipped("the config cannot be read")
        return
    config, loader = context.config.config, context.models
    primary = config.agents.primary
    if not _has_credentials(context) and _needs_sign_in(primary, loader):
        yield Finding("not-signed-in", "error", NOT_SIGNED_IN, _NOTHING, sign_in())
        return
    if primary is None:
        yield Examined("no default model is set")
    for path, text in model_names(config):
        try:
            loader.check(text)
        except PorticoError:
            continue  # `references` reports this
        try:
            model = loader.load(text)
        except BaseUrlRefused:
            yield Examined(f"{text}: see the base URLs of the providers")  # `base_urls` reports it once per provider
        except PorticoError as error:
            yield _cannot_be_called(path, text, error, loader)
        else:
            yield Examined(f"{text}: {model.source}")


def _has_credentials(context: CheckContext) -> bool:
    return context.has_key or any(not profile.sign_out_unfinished for profile in context.profiles)


def _needs_sign_in(primary: str | None, loader: ModelLoader) -> bool:
    """Whether the default model needs a sign-in, or there is no default model."""
    if primary is None:
        return True
    try:
        provider = loader.catalog.providers.get(loader.reference(primary).provider)
    except PorticoError:
        return False
    return provider is not None and is_signed_in_to(provider)


def _cannot_be_called(path: ConfigPath, text: str, error: PorticoError, loader: ModelLoader) -> Finding:
    level: Level = "error" if path[-1] == "primary" else "warning"
    message = f"{format_path(path)} names {text}, which cannot be called: {error.message}"
    hint = error.hint
    if isinstance(error, SignInNeeded) and not isinstance(error, KeyNotSet):
        provider = loader.catalog.providers[loader.reference(text).provider]
        message = f"{format_path(path)} names {text}, and there is no credential for {provider.id}."
        hint = f"Run `{set_up_command(provider)}`."
    if level == "error":
        with contextlib.suppress(PorticoError):
            level, message = "warning", f"{message} {loader.resolve().model.reference} answers instead."
    return Finding(error.id, level, message, error.why, hint)


def base_urls(context: CheckContext) -> Iterator[Outcome]:
    """Find a `baseUrl` that Portico does not use, or whose server probably does not offer the provider's `api`."""
    if context.config is None or context.models is None:
        yield Skipped("the config cannot be read")
        return
    catalog, env = context.models.catalog, context.app.env
    for provider in catalog.providers.values():
        try:
            own = [model.api for model in provider.config.models] if provider.config is not None else []
            checked_base_url(provider, "", env, catalog.specs.values(), own=own)
        except BaseUrlRefused as error:
            yield of_error(error)
        except ConfigError:
            continue  # a variable is not set: `credentials` reports it for a model in use
    config = context.config.config
    for block, misfit in misfits(config, [*catalog.specs.values()]):
        if not misfit.is_certain:
            place = format_path(block)
            message = f"{place}.baseUrl {misfit.message}: {config.models.providers[str(block[-1])].base_url}"
            hint = f"{{prog}} config set {quote(f'{place}.{misfit.key}')} {quote(misfit.instead)}"
            yield Finding("base-url-of-another-api", "warning", message, _MAYBE_404, hint)
    count = sum(provider.config is not None and provider.config.base_url is not None for provider in catalog.providers.values())
    yield Examined(f"{count} in the config" if count else "none in the config: Portico uses those of the plugins")


# Token lifetimes are in seconds from now, and refreshes come five minutes early: a larger error has effects.
_SKEW_S: Final = 60.0
_ANSWER_S: Final = 4.0
_SET_CLOCK: Final = (
    "set the clock by the network: sudo timedatectl set-ntp true (Linux), sudo sntp -sS time.apple.com (macOS), "
    "w32tm /resync (Windows)"
)


def hosts(context: CheckContext) -> Iterable[Outcome]:
    """Find a proxy that cannot be used, hosts that do not answer (one finding for each cause), and a wrong clock."""
    findings = [*map(of_error, proxy.problems(context.app.env)), *signals.run(_hosts(context))]
    servers = sorted(_origins(context))
    examined = Examined(", ".join(servers)) if servers else Skipped("no account uses a server")
    return [examined, *{(each.id, each.message): each for each in findings}.values()]


def plans(context: CheckContext) -> Iterable[Outcome]:
    """Find a credential that its provider rejects (another region, another kind, revoked), and an account without a plan."""
    if not context.accounts:
        return (Skipped("no account has a plan that Portico can read"),)
    return (Examined(", ".join(account.label for account in context.accounts)), *signals.run(_plans(context)))


async def _hosts(context: CheckContext) -> list[Finding]:
    async with context.app.http() as http:
        origins = sorted(_origins(context))
        answers = await asyncio.gather(*(_ask_origin(http, origin) for origin in origins))
    findings = [each for each in answers if isinstance(each, Finding)]
    # The clock of a local server, which has http, may be wrong too.
    by_https = zip(origins, answers, strict=True)
    skews = [each for origin, each in by_https if isinstance(each, float) and origin.startswith("https:")]
    own = context.app.clock.wall_ms() / 1000
    skew = max((own - date for date in skews), key=abs, default=0.0)
    if abs(skew) > _SKEW_S:
        difference = f"{abs(skew):.0f} seconds {'ahead of' if skew > 0 else 'behind'}"
        message = f"This machine's clock is {difference} the providers' servers."
        why = "Portico shows wrong times, and certificates may look expired. Tokens are measured by the servers' own clock."
        findings.append(Finding("clock-skew", "error", message, why, _SET_CLOCK))
    return findings


async def _ask_origin(http: HttpClient, origin: str) -> Finding | float | None:
    """Return a finding if the host cannot be reached, else its Date as a Unix time in seconds."""
    try:
        async with asyncio.timeout(_ANSWER_S):
            response = await http.send(f"{origin}/", headers={})
    except PorticoError as error:
        return of_error(error)
    except TimeoutError:
        return Finding("network", "error", f"{origin} did not answer within {_ANSWER_S:g} s.")
    response.close()
    try:
        return parsedate_to_datetime(response.headers.get("Date", "")).timestamp()
    except ValueError:
        return None


def _origins(context: CheckContext) -> Iterator[str]:
    urls = {profile.api_base for profile in context.profiles if profile.api_base}
    urls |= {profile.token_endpoint for profile in context.profiles if isinstance(profile, OAuthProfile)}
    urls |= {account.base_url for account in context.accounts if account.base_url}
    for url in {*urls, *_configured(context)}:
        parts = urlsplit(url)
        if parts.scheme == "https" or (parts.scheme == "http" and is_nearby(parts.hostname or "")):
            yield f"{parts.scheme}://{parts.netloc}"


def _configured(context: CheckContext) -> Iterator[str]:
    """Yield the base URLs of the providers in the config that have a credential or need none."""
    loader = context.models
    for provider in loader.catalog.providers.values() if loader is not None else ():
        if loader is None or provider.config is None:
            continue
        with contextlib.suppress(PorticoError):  # the variable of a key is not set
            url = loader.base_url(provider)
            if url is not None and "${" not in url and loader.has_credential(provider):
                yield url


async def _plans(context: CheckContext) -> list[Finding]:
    app = context.app
    async with app.http() as http:
        broker = app.broker(http, store=context.store("plans"))
        reports = await PlanClient(http, broker, app.clock).ask_all(context.accounts, timeout_s=_ANSWER_S)
    findings = [
        Finding("credential-refused", "error", report.error.message, report.error.why, report.error.hint)
        for report in reports
        if isinstance(report.error, CredentialRefused)
    ]
    for report in reports:
        if report.state == "no-plan":
            hint = f"Subscribe: {report.account.subscribe_url}" if report.account.subscribe_url else None
            findings.append(Finding("no-plan", "warning", f"{report.account.label} has no plan.", report.why, hint))
    return findings
