"""Take over another tool's sign-in: find it, check it like a new sign-in, store it, and only then remove the tool's copy.

A rotating refresh token can have only one owner. If two tools share the token, the first refresh ends the other tool's sign-in,
and a server that receives a spent token again revokes all tokens (RFC 9700 section 4.14). So Portico copies nothing without a
notice, replaces no stored profile, and removes the tool's copy only on request.
"""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from portico.accounts import choices, config_patch, storing
from portico.accounts.storing import ProfileExists, new_profile, profile_named
from portico.accounts.view import decide_switch, in_words
from portico.auth.importers.found import setting_path as place_named
from portico.auth.importers.source import ImportUnreadable, is_current_database, read_source, remove_from_source
from portico.auth.importers.tools import IMPORTERS, minimax_code_stores
from portico.config.document import format_path
from portico.errors import ConfigError, OAuthError, PorticoError, SignInNeeded, UnknownName, UsageError
from portico.interfaces.authorization import TokenSet
from portico.interfaces.basics import Choice
from portico.interfaces.plugins import KnowsClients
from portico.store.token_store import ABSENT, GenerationChanged, Tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from portico.accounts.view import AccountSwitch
    from portico.app import App
    from portico.auth.importers.found import FoundCredential, Importer
    from portico.interfaces.authorization import OAuthServer
    from portico.interfaces.plugins import AuthMethod
    from portico.store.records import OAuthProfile, Profile, StoreName

CHOICE: Final = "minimax-portal"
_SIGN_IN_INSTEAD: Final = f"sign in instead: {{prog}} onboard --auth-choice {CHOICE}"


class NothingToImport(SignInNeeded):
    """No other tool has a sign-in to take over."""

    id = "nothing-to-import"


class PluginMissing(ConfigError):
    """The plugin is not installed."""

    id = "plugin-not-found"


@dataclass(frozen=True, slots=True)
class ImportRequest:
    """The options of one `auth import`; None for an option that the user did not set. `remove_source` None: ask on a terminal."""

    tool: str | None = None
    path: str | None = None
    region: str | None = None
    profile: str | None = None
    store: StoreName | None = None
    dry_run: bool = False
    yes: bool = False
    remove_source: bool | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A credential in a tool's file or database. `copies` are the same credential in the tool's other files."""

    importer: Importer
    path: Path
    credential: FoundCredential
    copies: tuple[Candidate, ...] = ()

    @property
    def paths(self) -> tuple[Path, ...]:
        """Every file with the credential, without duplicates."""
        return tuple(dict.fromkeys((self.path, *(copy.path for copy in self.copies))))


@dataclass(frozen=True, slots=True)
class Retired:
    """A file that the tool no longer reads; Portico takes nothing from it.

    The tool reads `database` instead. `written_at` is the file's last change (ms epoch).
    """

    importer: Importer
    path: Path
    database: Path
    written_at: int


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file that Portico could not read, and why."""

    importer: Importer
    path: Path
    error: ConfigError


@dataclass(frozen=True, slots=True)
class Findings:
    """The result of `find`: the sign-ins that can be imported (`candidates`), and the skipped files and sign-ins.

    `older`: another candidate of the same name has a newer access token. `ended`: the access token has expired, and a file of
    the same tool is unreadable; that file may contain the tokens that replaced it.
    """

    candidates: tuple[Candidate, ...]
    retired: tuple[Retired, ...] = ()
    older: tuple[Candidate, ...] = ()
    ended: tuple[Candidate, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()


@dataclass(frozen=True, slots=True)
class Takeover:
    """A candidate that passed every check, and its new profile. `present`: the store already has these tokens."""

    candidate: Candidate
    profile: OAuthProfile
    method: AuthMethod
    switch: AccountSwitch
    present: bool = False


def find(app: App, request: ImportRequest) -> Findings:
    """Find the sign-ins of one tool. Copies in several files count as one candidate.

    An unreadable file is skipped, unless `request` names it or nothing else was found. If a file was skipped, expired access
    tokens of the same tool are skipped too: they may be spent copies of the tokens in that file.

    Raises:
        SignInNeeded: `nothing-to-import`, with the places searched.
        UsageError: several tools have a sign-in, and a question cannot be asked.
        ConfigError: `import-unreadable`: also if the tool no longer reads the file that `request` names.
        LockBusy: `lock-busy`: the tool's database is locked.
    """
    home = Path(app.env.get("HOME") or Path.home())
    if request.path is not None and request.tool is None:
        raise UsageError("--path needs --from.", hint=f"Specify the tool too: --from {'|'.join(_names())}")
    places = [
        (importer, place)
        for importer in IMPORTERS
        if request.tool in {None, importer.name}
        for place in (
            [place_named(request.path) or Path()] if request.path is not None else importer.default_paths(app.env, home)
        )
    ]
    if request.path is not None and not os.path.exists(places[0][1]):  # noqa: PTH110 - Path raises where it may not look
        raise ImportUnreadable(f"File not found: {request.path}", why=f"expected {places[0][0].expected}")
    retired = _retired(places)
    if request.path is not None and retired:
        raise _is_retired(retired[0], app.clock.wall_ms())
    skipped = {each.path for each in retired}
    found: list[Candidate] = []
    unreadable: list[Unreadable] = []
    for importer, place in places:
        if place in skipped:
            continue
        try:
            found += [Candidate(importer, place, credential) for credential in read_source(importer, place)]
        except ConfigError as error:
            unreadable.append(Unreadable(importer, place, error))
    if not found and unreadable:
        raise unreadable[0].error
    if not found:
        raise _nothing_found(places, retired, app.clock.wall_ms())
    tool = _choose_tool(app, found)
    now_ms = app.clock.wall_ms()
    own = _merge_copies([candidate for candidate in found if candidate.importer.name == tool], now_ms)
    older = [candidate for candidate in own if _is_older(candidate, own, now_ms)]
    newest = [candidate for candidate in own if candidate not in older]
    unread = next((each for each in unreadable if each.importer.name == tool), None)
    ended = [candidate for candidate in newest if unread is not None and _has_ended(candidate, now_ms)]
    if unread is not None and len(ended) == len(newest):
        raise _may_be_spent(ended[0], unread)
    return Findings(
        candidates=tuple(candidate for candidate in newest if candidate not in ended),
        retired=tuple(each for each in retired if each.importer.name == tool),
        older=tuple(older),
        ended=tuple(ended),
        unreadable=tuple(unreadable),
    )


def _retired(places: Sequence[tuple[Importer, Path]]) -> list[Retired]:
    """Return the files whose tool now uses a database instead, even if the database is empty."""
    retired = []
    for importer, place in places:
        # `isfile`, since Path raises for a folder that it may not read.
        if not importer.tables or not os.path.isfile(place) or _may_be_current(importer, place):  # noqa: PTH113
            continue
        others = [*importer.databases(place), *(other for of, other in places if of is importer and other != place)]
        database = next((other for other in others if _may_be_current(importer, other)), None)
        if database is not None:
            retired.append(Retired(importer, place, database, place.stat().st_mtime_ns // 10**6))
    return retired


def _may_be_current(importer: Importer, path: Path) -> bool:
    """Whether it is possible that the tool uses this database now; True for an unreadable database."""
    try:
        return is_current_database(importer, path)
    except ConfigError:
        return path.suffix == ".sqlite"


def _merge_copies(candidates: Sequence[Candidate], now_ms: int) -> list[Candidate]:
    """Join candidates that share a token into the newest of them."""
    groups: list[list[Candidate]] = []
    for candidate in candidates:
        same = (group for group in groups if any(each.credential.shares_token(candidate.credential) for each in group))
        group = next(same, None)
        if group is None:
            groups.append([candidate])
        else:
            group.append(candidate)
    return [_with_copies(group, now_ms) for group in groups]


def _newness(candidate: Candidate, now_ms: int) -> tuple[int, int]:
    """Return a sort key by the expiry of the access token; the newest token has the highest key.

    A token without a known expiry ranks below a valid token, and above an expired token, which has not been refreshed.
    """
    expires_at = candidate.credential.expires_at
    if expires_at is None:
        return 1, 0
    return (2 if expires_at > now_ms else 0), expires_at


def _is_older(candidate: Candidate, others: Sequence[Candidate], now_ms: int) -> bool:
    """Whether another candidate of the same name is newer. Then the refresh token of the older candidate may be spent.

    openclaw 2026.2 copied the main agent's sign-ins to each new agent and refreshed each copy separately. If several expiries are
    unknown, the first candidate counts as the newest: it is in the file that OpenClaw's agents share, or in the file of the main
    agent.
    """
    same_name = [other for other in others if other.credential.location == candidate.credential.location]
    newest = max(same_name, key=lambda other: _newness(other, now_ms))
    is_less_new = _newness(candidate, now_ms) < _newness(newest, now_ms)
    return candidate is not newest and (is_less_new or candidate.credential.expires_at is None)


def _has_ended(candidate: Candidate, now_ms: int) -> bool:
    expires_at = candidate.credential.expires_at
    return expires_at is not None and expires_at <= now_ms


def _with_copies(group: list[Candidate], now_ms: int) -> Candidate:
    newest = max(group, key=lambda candidate: _newness(candidate, now_ms))
    return replace(newest, copies=tuple(each for each in group if each is not newest))


def warnings(app: App) -> list[str]:
    """Return one warning per sign-in that cannot be taken over."""
    stores = minimax_code_stores(Path(app.env.get("HOME") or Path.home()))
    return [
        f"MiniMax Code is signed in too ({store}). Portico leaves it alone: a refresh elsewhere would sign MiniMax Code out."
        for store in stores
    ]


def check(app: App, request: ImportRequest, candidates: Sequence[Candidate]) -> list[Takeover]:
    """Check each candidate like a new sign-in. Writes nothing; reads the keyring only if a profile exists.

    Raises:
        UsageError: the region is unknown and a question cannot be asked; the name is invalid or taken; `profile-exists`.
        ConfigError: `import-unreadable`, `config-invalid`, or the plugin cannot be used.
    """
    if request.profile is not None and len(candidates) > 1:
        names = ", ".join(format_path(candidate.credential.location) for candidate in candidates)
        raise UsageError("--profile names one account, but the file has several.", why=names, hint="Leave --profile out.")
    plugin_id = app.plugins.plugin_for_choice(CHOICE)
    if plugin_id is None:
        hint = "Reinstall Portico: its MiniMax plugin is missing."
        raise PluginMissing("No plugin offers the MiniMax sign-in.", hint=hint)
    host = app.plugins if app.plugins.find(plugin_id).enabled else app.plugins.enabling(plugin_id)
    own = host.auth_method(CHOICE)
    if not isinstance(own, KnowsClients):
        raise ImportUnreadable(f"Plugin {plugin_id} cannot take over another tool's sign-in.")
    takeovers: list[Takeover] = []
    for candidate in candidates:
        method = own.for_client(candidate.credential.client_id)
        taken_ids = {takeover.profile.id for takeover in takeovers}
        takeovers.append(_takeover(app, request, candidate, method, taken_ids))
    return takeovers


def keep(app: App, takeover: Takeover, *, chosen: StoreName | None) -> Profile:
    """Store the tokens, then write the config. The other tool's file stays unchanged.

    Raises:
        UsageError: `profile-exists`: since `check`, another command has signed in under this name.
        StoreError, ConfigError, LockBusy: nothing was stored, or the next run writes the config.
    """
    choices.enable(app, CHOICE)
    credential = takeover.candidate.credential
    store = storing.ready_store(app, chosen)
    tokens = Tokens(credential.access, credential.refresh, credential.expires_at, generation=0)
    app.reload_config()  # another process may have changed the file while a prompt was open
    profile = replace(takeover.profile, use_pending=takeover.switch.applies(app))
    try:
        stored = app.local_store(store).commit(profile, tokens, expect_generation=ABSENT)
    except GenerationChanged:
        raise _exists(takeover.profile.id) from None
    config_patch.write_config(app, stored, takeover.method)
    return stored


def remove(candidate: Candidate) -> str:
    """Remove the credential from the other tool's files.

    Returns:
        `removed`; `gone`: the credential was not there; `changed`: a file has newer tokens now; `not-erased`: removed, but the
        text stays in the database file until the tool closes the database.

    Raises:
        ConfigError, LockBusy: at least one file still has the credential.
    """
    copies = (candidate, *candidate.copies)
    outcomes = {remove_from_source(copy.importer, copy.path, copy.credential) for copy in copies}
    return next(outcome for outcome in ("changed", "not-erased", "removed", "gone") if outcome in outcomes)


def _takeover(app: App, request: ImportRequest, candidate: Candidate, method: AuthMethod, taken_ids: set[str]) -> Takeover:
    credential = candidate.credential
    region = _region(app, request, candidate, method)
    server = method.server(region)
    _check_portal(candidate, server)
    api_base = _api_base(candidate, method, region)
    now = app.clock.wall_ms()
    if credential.refresh is None and credential.expires_at is not None and credential.expires_at <= now:
        raise ImportUnreadable(
            f"The sign-in in {candidate.path} has ended.",
            why="its access token has expired and it has no refresh token",
            hint=_SIGN_IN_INSTEAD,
        )
    name = _name(app, request, candidate, method, region, taken_ids)
    switch = decide_switch(app, method.provider, region, name, make_default=None)
    profile = new_profile(
        app,
        method,
        server,
        _token_set(credential),
        id=name,
        region=region,
        api_base=api_base,
        make_default=None,
        use_pending=switch.wanted,
    )
    return Takeover(candidate, profile, method, switch, present=_is_present(app, profile, credential))


def _name(app: App, request: ImportRequest, candidate: Candidate, method: AuthMethod, region: str, taken_ids: set[str]) -> str:
    """Return the profile id: from `--profile`, of the profile with these tokens, the region's default, or a numbered id."""
    if request.profile is not None:
        return profile_named(app, request.profile, method.provider)
    known = [profile.id for profile in app.token_store.profiles() if profile.provider == method.provider]
    stored = next((id for id in known if _has_tokens(app, id, candidate.credential)), None)
    if stored is not None:
        return stored
    default = next(each.profile for each in method.regions if each.id == region)
    if default not in taken_ids:
        return default
    numbered = (f"{method.provider}:{candidate.importer.name}-{number}" for number in itertools.count(2))
    return next(name for name in numbered if name not in {*taken_ids, *known})


def _region(app: App, request: ImportRequest, candidate: Candidate, method: AuthMethod) -> str:
    """Return the region in the file, else the user's answer. A wrong guess would send the token to a foreign server."""
    credential, known = candidate.credential, [region.id for region in method.regions]
    region = credential.region
    if region is None and credential.api_url is not None:
        matching = [id for id in known if _accepts(method, id, credential)]
        region = matching[0] if len(matching) == 1 else None
        if not matching:
            raise _foreign(candidate, f"its API host, {_host(credential.api_url)}, is not MiniMax's")
    if region is not None and region not in known:
        raise _foreign(candidate, f"its region is none of {', '.join(known)}")
    if region is not None and request.region not in {None, region}:
        why = f"{candidate.path} says {region}"
        raise UnknownName(f"This account is not in region {request.region}.", why=why, hint="Leave --region out.")
    return region or choices.region_of(app, method, request.region).id


def _check_portal(candidate: Candidate, server: OAuthServer) -> None:
    """Refuse tokens of another portal: this region's server must not see them."""
    url = candidate.credential.portal_url
    hosts = {_host(place) for place in (server.issuer, server.token_endpoint, *server.relocated)}
    if url is not None and (not url.startswith("https://") or _host(url) not in hosts):
        raise _foreign(candidate, f"it comes from {_host(url)}, but this region signs in at {_host(server.issuer)}")


def _api_base(candidate: Candidate, method: AuthMethod, region: str) -> str:
    credential = candidate.credential
    try:
        return method.accept(region, _token_set(credential)).api_base
    except OAuthError:
        raise _foreign(candidate, f"its API host, {_host(credential.api_url or '')}, is not in region {region}") from None


def _accepts(method: AuthMethod, region: str, credential: FoundCredential) -> bool:
    try:
        method.accept(region, _token_set(credential))
    except OAuthError:
        return False
    return True


def _token_set(credential: FoundCredential) -> TokenSet:
    return TokenSet(credential.access, credential.refresh, credential.expires_at, resource_url=credential.api_url)


def _is_present(app: App, profile: Profile, credential: FoundCredential) -> bool:
    """Whether the store already has these tokens under this id.

    Raises:
        UsageError: the id has other tokens, or these tokens are stored under another id.
    """
    for other in app.token_store.profiles():
        if other.provider != profile.provider or not _has_tokens(app, other.id, credential):
            continue
        if other.id == profile.id:
            return True
        raise ProfileExists(f"This account is already stored as {other.id}.", hint="Leave --profile out.")
    if app.token_store.get(profile.id) is not None:
        raise _exists(profile.id)
    return False


def _exists(profile_id: str) -> UsageError:
    hint = f"Keep both: --profile NAME; or sign out first: {{prog}} auth logout {profile_id}"
    return ProfileExists(f"{profile_id} is already signed in.", hint=hint)


def _has_tokens(app: App, profile_id: str, credential: FoundCredential) -> bool:
    try:
        tokens = app.token_store.read(profile_id).tokens
    except PorticoError:
        return False
    return tokens.access == credential.access or (tokens.refresh is not None and tokens.refresh == credential.refresh)


def _choose_tool(app: App, found: Sequence[Candidate]) -> str:
    tools = {candidate.importer.name: candidate for candidate in found}
    if len(tools) == 1:
        return next(iter(tools))
    rows = [Choice(name, candidate.importer.label, str(candidate.path)) for name, candidate in tools.items()]
    return app.prompter.choose("Which tool's sign-in do you want to take over?", rows, flag="--from")


def _names() -> list[str]:
    return [importer.name for importer in IMPORTERS]


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or "an unreadable address"
    except ValueError:
        return "an unreadable address"


def _nothing_found(places: Sequence[tuple[Importer, Path]], retired: Sequence[Retired], now_ms: int) -> NothingToImport:
    skipped = {each.path: each for each in retired}
    first_places = {importer.name: place for importer, place in reversed(places)}
    searched = []
    for importer, place in places:
        if place in skipped:
            searched.append(f"{place} (retired: {why_retired(skipped[place], now_ms)})")
            continue
        exists = os.path.exists(place)  # noqa: PTH110 - Path raises for a folder that it may not read
        if exists or not importer.tables or place == first_places[importer.name]:
            searched.append(f"{place} ({'no MiniMax sign-in in it' if exists else 'not found'})")
    repair = (
        f"let the tool migrate its old file ({retired[0].importer.repair_command}), then run this again; or " if retired else ""
    )
    return NothingToImport(
        "No other tool has a MiniMax sign-in to take over.",
        why=f"searched {'; '.join(searched)}",
        hint=f"{repair}specify the file: --from {'|'.join(_names())} --path FILE; or {_SIGN_IN_INSTEAD}",
    )


def why_retired(retired: Retired, now_ms: int) -> str:
    """Return why Portico imports nothing from a retired file, with the age of the file."""
    age = in_words(now_ms - max(0, now_ms - retired.written_at), now_ms).removeprefix("expired ")
    return f"{retired.importer.label} reads {retired.database} instead; last written {age}"


def _is_retired(retired: Retired, now_ms: int) -> ConfigError:
    return ImportUnreadable(
        f"{retired.importer.label} no longer uses {retired.path}; nothing was taken from it.",
        why=f"{why_retired(retired, now_ms)}; its tokens may be spent, and a spent token ends the sign-in",
        hint=f"take over what {retired.importer.label} uses now: {{prog}} auth import --from {retired.importer.name}",
    )


def _may_be_spent(ended: Candidate, unread: Unreadable) -> ConfigError:
    expired = f"the access token in {ended.path} has expired, and the unreadable file may have a newer sign-in"
    return ImportUnreadable(
        unread.error.message,
        why=f"{unread.error.why}; {expired}",
        where=unread.error.where,
        hint=f"if it is a separate account: {{prog}} auth import --from {ended.importer.name} --path {ended.path}; "
        f"or {_SIGN_IN_INSTEAD}",
    )


def _foreign(candidate: Candidate, why: str) -> ImportUnreadable:
    message = f"The sign-in in {candidate.path} is not from a MiniMax portal; nothing was stored."
    return ImportUnreadable(message, why=why, hint=_SIGN_IN_INSTEAD)
