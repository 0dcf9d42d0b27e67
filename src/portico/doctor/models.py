"""Whether a request would be answered: a credential for each model in use, addresses that fit their protocol, hosts within reach.

The way to a host: names, proxies, certificates, the clock there, and whether credentials are of the right region.
"""

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
from portico.store.profiles import SIGNED_OUT, sign_in
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

_MAYBE_404: Final = "Many providers have Anthropic's protocol under /anthropic, and answer any other there with 404."
_NOTHING: Final = "No model can answer: there is no account, no environment key and no key in the config."


def credentials(context: CheckContext) -> Iterator[Outcome]:
    """Nobody is signed in and there is no key, or a model in use has no credential."""
    if context.config is None or context.models is None:
        yield Skipped("the configuration cannot be read")
        return
    config, loader = context.config.config, context.models
    primary = config.agents.primary
    if not _anything_set_up(context) and _is_of_a_sign_in(primary, loader):
        yield Finding("not-signed-in", "error", SIGNED_OUT, _NOTHING, sign_in())
        return
    if primary is None:
        yield Examined("no default model is set")
    for path, text in model_names(config):
        try:
            loader.check(text)
        except PorticoError:
            continue  # a name that means nothing is a finding of `references`
        try:
            model = loader.load(text)
        except PorticoError as error:
            if isinstance(
                error, BaseUrlRefused
            ):  # a finding of `base_urls`, once for each provider and not for each of its models
                yield Examined(f"{text}: see the addresses of the providers")
            else:
                yield _unanswered(path, text, error, loader)
        else:
            yield Examined(f"{text}: {model.source}")


def _anything_set_up(context: CheckContext) -> bool:
    return context.has_key or any(not profile.sign_out_unfinished for profile in context.profiles)


def _is_of_a_sign_in(primary: str | None, loader: ModelLoader) -> bool:
    """Whether signing in is what the default model needs, or what somebody without one begins with."""
    if primary is None:
        return True
    try:
        provider = loader.catalog.providers.get(loader.reference(primary).provider)
    except PorticoError:
        return False
    return provider is not None and is_signed_in_to(provider)


def _unanswered(path: ConfigPath, text: str, error: PorticoError, loader: ModelLoader) -> Finding:
    level: Level = "error" if path[-1] == "primary" else "warning"
    message = f"{format_path(path)} names {text}, which cannot be called: {error.message}"
    hint = error.hint
    if isinstance(error, SignInNeeded) and not isinstance(error, KeyNotSet):
        provider = loader.catalog.providers[loader.reference(text).provider]
        message = f"{format_path(path)} names {text}, and there is no credential for {provider.id}."
        hint = f"Run `{set_up_command(provider)}`."
    if level == "error" and (instead := _answers_instead(loader)) is not None:
        level, message = "warning", f"{message} {instead} answers instead."
    return Finding(error.id, level, message, error.why, hint)


def _answers_instead(loader: ModelLoader) -> str | None:
    try:
        return str(loader.resolve().model.reference)
    except PorticoError:
        return None


def base_urls(context: CheckContext) -> Iterator[Outcome]:
    """A `baseUrl` to which nothing is sent, or at which the provider's `api` is hardly served."""
    if context.config is None or context.models is None:
        yield Skipped("the configuration cannot be read")
        return
    catalog, env = context.models.catalog, context.app.env
    for provider in catalog.providers.values():
        try:
            own = [model.api for model in provider.config.models] if provider.config is not None else []
            checked_base_url(provider, "", env, catalog.specs.values(), own=own)
        except ConfigError as error:
            if isinstance(error, BaseUrlRefused):
                yield of_error(error)
    config = context.config.config
    for block, wrong in misfits(config, [*catalog.specs.values()]):
        if not wrong.is_certain:
            place = format_path(block)
            message = f"{place}.baseUrl {wrong.message}: {config.models.providers[str(block[-1])].base_url}"
            hint = f"{{prog}} config set {quote(f'{place}.{wrong.key}')} {quote(wrong.instead)}"
            yield Finding("base-url-of-another-api", "warning", message, _MAYBE_404, hint)
    written = sum(provider.config is not None and provider.config.base_url is not None for provider in catalog.providers.values())
    yield Examined(f"{written} in the configuration" if written else "none in the configuration: the plugins' own are used")


# A token's end is told in seconds from now, and is refreshed five minutes before: more than this is felt.
_SKEW_S: Final = 60.0
_ANSWER_S: Final = 4.0
_SET_CLOCK: Final = (
    "set the clock by the network: sudo timedatectl set-ntp true (Linux), sudo sntp -sS time.apple.com (macOS), "
    "w32tm /resync (Windows)"
)


def hosts(context: CheckContext) -> Iterable[Outcome]:
    """A proxy that cannot be used; a host that does not answer, once for each cause; a clock that is not the host's."""
    findings = [*map(of_error, proxy.problems(context.app.env)), *signals.run(_hosts(context))]
    servers = sorted(_origins(context))
    examined = Examined(", ".join(servers)) if servers else Skipped("no account uses a server")
    return [examined, *{(each.id, each.message): each for each in findings}.values()]


def plans(context: CheckContext) -> Iterable[Outcome]:
    """A credential that its provider refuses: of the other region, of another kind, or revoked."""
    if not context.accounts:
        return (Skipped("no account has a plan to ask about"),)
    return (Examined(", ".join(account.label for account in context.accounts)), *signals.run(_plans(context)))


async def _hosts(context: CheckContext) -> list[Finding]:
    async with context.app.http() as http:
        origins = sorted(_origins(context))
        answers = await asyncio.gather(*(_ask_origin(http, origin) for origin in origins))
    findings = [each for each in answers if isinstance(each, Finding)]
    # A server of the user's own, asked over http, may have a wrong clock itself.
    by_https = zip(origins, answers, strict=True)
    skews = [each for origin, each in by_https if isinstance(each, float) and origin.startswith("https:")]
    own = context.app.clock.wall_ms() / 1000
    skew = max((own - date for date in skews), key=abs, default=0.0)
    if abs(skew) > _SKEW_S:
        words = f"{abs(skew):.0f} seconds {'ahead of' if skew > 0 else 'behind'}"
        why = "Times are shown wrong, and certificates may look ended. Tokens are measured by the servers' own clock."
        findings.append(
            Finding(
                "clock-skew",
                "error",
                f"This machine's clock is {words} the providers' servers.",
                why,
                _SET_CLOCK,
            )
        )
    return findings


async def _ask_origin(http: HttpClient, origin: str) -> Finding | float | None:
    """What is wrong with the way there; else its Date, in seconds of its own clock."""
    try:
        async with asyncio.timeout(_ANSWER_S):
            response = await http.send(f"{origin}/", headers={})
    except PorticoError as error:
        return of_error(error)
    except TimeoutError:
        return Finding("network", "error", f"{origin} does not answer.", f"nothing came within {_ANSWER_S:g} s")
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
    """The base URLs of the providers in the configuration that have a credential, or need none."""
    loader = context.models
    for provider in loader.catalog.providers.values() if loader is not None else ():
        if loader is None or provider.config is None:
            continue
        with contextlib.suppress(PorticoError):  # a key's variable that is not set
            url = loader.base_url(provider)
            if url is not None and "${" not in url and loader.has_credential(provider):
                yield url


async def _plans(context: CheckContext) -> list[Finding]:
    app = context.app
    async with app.http() as http:
        broker = app.broker(http, store=context.store("plans"))
        reports = await PlanClient(http, broker, app.clock).ask_all(context.accounts, timeout_s=_ANSWER_S)
    refused = [report for report in reports if isinstance(report.error, CredentialRefused)]
    findings = [
        Finding("credential-refused", "error", each.error.message, each.error.why, each.error.hint)
        for each in refused
        if each.error is not None
    ]
    for report in reports:
        if report.state == "no-plan":
            hint = f"Subscribe: {report.account.subscribe_url}" if report.account.subscribe_url else None
            findings.append(Finding("no-plan", "warning", f"{report.account.label} has no plan.", report.why, hint))
    return findings
