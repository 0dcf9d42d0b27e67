"""Taking over a sign-in that another tool keeps: found, checked as a sign-in is, stored, and only then taken out over there.

A refresh token that rotates has one owner: the first of two tools that refreshes ends the other's sign-in, and a server that sees
a spent token again revokes everything (RFC 9700 section 4.14). So nothing is copied without saying so, nothing replaces a
sign-in that is there, and nothing is removed without being told to.
"""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn
from urllib.parse import urlsplit

from portico.accounts import choices, config_patch, storing
from portico.accounts.storing import ProfileExists, new_profile, profile_named
from portico.accounts.view import decide, in_words
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

    from portico.accounts.view import TakeOver
    from portico.app import App
    from portico.auth.importers.found import FoundCredential, Importer
    from portico.interfaces.authorization import OAuthServer
    from portico.interfaces.plugins import AuthMethod
    from portico.store.records import OAuthProfile, Profile, StoreName

CHOICE: Final = "minimax-portal"


class NothingToImport(SignInNeeded):
    """No other tool keeps a sign-in that could be taken over."""

    id = "nothing-to-import"


class PluginMissing(ConfigError):
    """No plugin of that id is installed."""

    id = "plugin-not-found"


@dataclass(frozen=True, slots=True)
class ImportRequest:
    """One `auth import`: each field None where the user did not say. `remove_source` None: ask, where somebody is there."""

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
    """A credential in a tool's file or database. `copies` are the same sign-in in other files of the tool."""

    importer: Importer
    path: Path
    credential: FoundCredential
    copies: tuple[Candidate, ...] = ()

    @property
    def paths(self) -> tuple[Path, ...]:
        """Every file that holds it, each once."""
        return tuple(dict.fromkeys((self.path, *(copy.path for copy in self.copies))))


@dataclass(frozen=True, slots=True)
class Retired:
    """A file that the tool does not read any more, so that nothing is taken from it.

    `database` is what the tool reads instead; `written_at` is when the file was last changed, in wall ms.
    """

    importer: Importer
    path: Path
    database: Path
    written_at: int


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file that cannot be read, so that nothing is known of what is in it. `error` says why."""

    importer: Importer
    path: Path
    error: ConfigError


@dataclass(frozen=True, slots=True)
class Findings:
    """What `find` came to: what can be taken over, and what was passed over.

    `older` are sign-ins beside which another of the same name is taken to be newer, by the end of its access token. `ended` are
    those whose access token has ended while a file of the same tool cannot be read: the one that came after it may be in there.
    """

    candidates: tuple[Candidate, ...]
    retired: tuple[Retired, ...] = ()
    older: tuple[Candidate, ...] = ()
    ended: tuple[Candidate, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()


@dataclass(frozen=True, slots=True)
class Takeover:
    """A candidate that passed every check, and the profile it becomes. `present`: this very sign-in is stored already."""

    candidate: Candidate
    profile: OAuthProfile
    method: AuthMethod
    over: TakeOver
    present: bool = False


def find(app: App, request: ImportRequest) -> Findings:
    """What there is to take over, of one tool. A sign-in that stands in several of its files is one.

    A file that cannot be read is passed over, unless it was named or there is nothing else. Beside one of the same tool nothing
    is taken whose access token has ended, since that may be a spent copy of what is in the file.

    Raises:
        SignInNeeded: `nothing-to-import`, naming where was looked.
        UsageError: several tools have something and nobody can be asked.
        ConfigError: `import-unreadable`: also if the tool does not read the file that was named.
        LockBusy: `lock-busy`: a tool keeps its database locked.
    """
    home = Path(app.env.get("HOME") or Path.home())
    if request.path is not None and request.tool is None:
        raise UsageError("--path names a file of one tool.", hint=f"Give --from {'|'.join(_names())} as well.")
    places = [
        (importer, place)
        for importer in IMPORTERS
        if request.tool in {None, importer.name}
        for place in (
            [place_named(request.path) or Path()] if request.path is not None else importer.default_paths(app.env, home)
        )
    ]
    if request.path is not None and not os.path.exists(places[0][1]):  # noqa: PTH110 - Path raises where it may not look
        raise ImportUnreadable(f"There is no such file: {request.path}", why=f"expected {places[0][0].expected}")
    retired = _retired(places)
    if request.path is not None and retired:
        raise _is_retired(retired[0], app.clock.wall_ms())
    passed_over = {each.path for each in retired}
    found: list[Candidate] = []
    unreadable: list[Unreadable] = []
    for importer, place in places:
        if place in passed_over:
            continue
        try:
            found += [Candidate(importer, place, credential) for credential in read_source(importer, place)]
        except ConfigError as error:
            unreadable.append(Unreadable(importer, place, error))
    if not found and unreadable:
        raise unreadable[0].error
    if not found:
        _nothing(places, retired, app.clock.wall_ms())
    tool = _chosen(app, found)
    now_ms = app.clock.wall_ms()
    own = _each_once([candidate for candidate in found if candidate.importer.name == tool], now_ms)
    older = [candidate for candidate in own if _is_older(candidate, own, now_ms)]
    taken = [candidate for candidate in own if candidate not in older]
    unread = next((each for each in unreadable if each.importer.name == tool), None)
    ended = [candidate for candidate in taken if unread is not None and _has_ended(candidate, now_ms)]
    if unread is not None and len(ended) == len(taken):
        raise _may_be_spent(ended[0], unread)
    return Findings(
        candidates=tuple(candidate for candidate in taken if candidate not in ended),
        retired=tuple(each for each in retired if each.importer.name == tool),
        older=tuple(older),
        ended=tuple(ended),
        unreadable=tuple(unreadable),
    )


def _retired(places: Sequence[tuple[Importer, Path]]) -> list[Retired]:
    """The files whose tool keeps its entries in a database by now, even one in which nothing is left."""
    retired = []
    for importer, place in places:
        # `isfile`, since Path raises where it may not look.
        if not importer.tables or not os.path.isfile(place) or _may_be_current(importer, place):  # noqa: PTH113
            continue
        others = [*importer.databases(place), *(other for of, other in places if of is importer and other != place)]
        database = next((other for other in others if _may_be_current(importer, other)), None)
        if database is not None:
            retired.append(Retired(importer, place, database, place.stat().st_mtime_ns // 10**6))
    return retired


def _may_be_current(importer: Importer, path: Path) -> bool:
    """Whether the tool keeps its entries in this database by now, as far as can be known: one that cannot be read may be it."""
    try:
        return is_current_database(importer, path)
    except ConfigError:
        return path.suffix == ".sqlite"


def _each_once(candidates: Sequence[Candidate], now_ms: int) -> list[Candidate]:
    """One for each sign-in: of its copies the one that looks newest, then the first."""
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
    """How new a sign-in looks by the end of its access token, the newest highest.

    An unknown end stands between one that is still to come and one that has passed: what has ended was not refreshed since.
    """
    ends = candidate.credential.expires_at
    if ends is None:
        return 1, 0
    return (2 if ends > now_ms else 0), ends


def _is_older(candidate: Candidate, others: Sequence[Candidate], now_ms: int) -> bool:
    """Whether it may be what another sign-in of the same name has come from: its refresh token is spent then, however long its
    access token is still good.

    openclaw 2026.2 gave each new agent a copy of the main agent's sign-ins, and refreshed each where it was. Of several whose end
    nobody knows the first is taken: that is the one in the place that OpenClaw's agents share, or the main agent's.
    """
    same_name = [other for other in others if other.credential.location == candidate.credential.location]
    newest = max(same_name, key=lambda other: _newness(other, now_ms))
    is_less_new = _newness(candidate, now_ms) < _newness(newest, now_ms)
    return candidate is not newest and (is_less_new or candidate.credential.expires_at is None)


def _has_ended(candidate: Candidate, now_ms: int) -> bool:
    ends = candidate.credential.expires_at
    return ends is not None and ends <= now_ms


def _with_copies(group: list[Candidate], now_ms: int) -> Candidate:
    newest = max(group, key=lambda candidate: _newness(candidate, now_ms))
    return replace(newest, copies=tuple(each for each in group if each is not newest))


def warnings(app: App) -> list[str]:
    """What to know about sign-ins that cannot be taken over."""
    stores = minimax_code_stores(Path(app.env.get("HOME") or Path.home()))
    return [
        f"MiniMax Code is signed in too ({store}). Its sign-in stays its own: refreshed elsewhere, it would sign that app out."
        for store in stores
    ]


def check(app: App, request: ImportRequest, candidates: Sequence[Candidate]) -> list[Takeover]:
    """Hold each candidate to what a sign-in is held to. Nothing is written; the keyring is read only where a profile is there.

    Raises:
        UsageError: the region is not known and nobody can be asked; the profile's name is taken; `profile-exists`.
        ConfigError: `import-unreadable`, `config-invalid`, or the plugin cannot be used.
    """
    if request.profile is not None and len(candidates) > 1:
        names = ", ".join(format_path(candidate.credential.location) for candidate in candidates)
        raise UsageError("--profile names one sign-in, and the file has several.", why=names, hint="Leave --profile out.")
    plugin_id = app.plugins.plugin_for_choice(CHOICE)
    if plugin_id is None:
        hint = "install Portico again: its plugin for MiniMax is missing"
        raise PluginMissing("No plugin brings MiniMax's sign-in.", hint=hint)
    host = app.plugins if app.plugins.find(plugin_id).enabled else app.plugins.enabling(plugin_id)
    own = host.auth_method(CHOICE)
    if not isinstance(own, KnowsClients):
        raise ImportUnreadable(f"Plugin {plugin_id} cannot take over another tool's sign-in.")
    takeovers: list[Takeover] = []
    for candidate in candidates:
        method = own.for_client(candidate.credential.client_id)
        taken = {takeover.profile.id for takeover in takeovers}
        takeovers.append(_takeover(app, request, candidate, method, taken))
    return takeovers


def keep(app: App, takeover: Takeover, *, chosen: StoreName | None) -> Profile:
    """Store the tokens, then write the config. The other tool's file is not touched, whatever fails.

    Raises:
        UsageError: `profile-exists`: another command has signed in under this name since `check`.
        StoreError, ConfigError, LockBusy: as a sign-in does; what was stored is finished by the next run.
    """
    choices.enable(app, CHOICE)
    credential = takeover.candidate.credential
    store = storing.ready_store(app, chosen)
    tokens = Tokens(credential.access, credential.refresh, credential.expires_at, generation=0)
    app.reload_config()  # it may have been changed while a question was open
    profile = replace(takeover.profile, use_pending=takeover.over.now(app))
    try:
        stored = app.local_store(store).commit(profile, tokens, expect_generation=ABSENT)
    except GenerationChanged:
        raise _exists(takeover.profile.id) from None
    config_patch.write_config(app, stored, takeover.method)
    return stored


def remove(candidate: Candidate) -> str:
    """Take the credential out of the other tool's files; `removed`, `gone`, or `changed` where one holds newer tokens by now.

    `not-erased`: it is out, and its text stays in a database's file until the tool has closed it.

    Raises:
        ConfigError, LockBusy: it stays there, in one of them at least.
    """
    each = (candidate, *candidate.copies)
    outcomes = {remove_from_source(one.importer, one.path, one.credential) for one in each}
    return next(outcome for outcome in ("changed", "not-erased", "removed", "gone") if outcome in outcomes)


def _takeover(app: App, request: ImportRequest, candidate: Candidate, method: AuthMethod, taken: set[str]) -> Takeover:
    credential = candidate.credential
    region = _region(app, request, candidate, method)
    server = method.server(region)
    _check_portal(candidate, server)
    api_base = _api_base(candidate, method, region)
    now = app.clock.wall_ms()
    if credential.refresh is None and credential.expires_at is not None and credential.expires_at <= now:
        raise ImportUnreadable(
            f"The sign-in in {candidate.path} has ended.",
            why="its access token has expired and there is no refresh token beside it",
            hint=f"sign in instead: {{prog}} onboard --auth-choice {CHOICE}",
        )
    name = _name(app, request, candidate, method, region, taken)
    over = decide(app, method.provider, region, name, make_default=None)
    profile = new_profile(
        app,
        method,
        server,
        _grant(credential),
        id=name,
        region=region,
        api_base=api_base,
        make_default=None,
        takes_over=over.chosen,
    )
    return Takeover(candidate, profile, method, over, present=_is_present(app, profile, credential))


def _name(app: App, request: ImportRequest, candidate: Candidate, method: AuthMethod, region: str, taken: set[str]) -> str:
    """The name that was asked for, or that the sign-in has already, or the region's; a further one of its file is numbered."""
    if request.profile is not None:
        return profile_named(app, request.profile, method.provider)
    known = [profile.id for profile in app.token_store.profiles() if profile.provider == method.provider]
    holder = next((id for id in known if _holds(app, id, candidate.credential)), None)
    if holder is not None:
        return holder
    default = next(each.profile for each in method.regions if each.id == region)
    if default not in taken:
        return default
    numbered = (f"{method.provider}:{candidate.importer.name}-{number}" for number in itertools.count(2))
    return next(name for name in numbered if name not in {*taken, *known})


def _region(app: App, request: ImportRequest, candidate: Candidate, method: AuthMethod) -> str:
    """The region that the file tells, else the answer of a person: a token sent to the wrong one is shown to a stranger."""
    credential, known = candidate.credential, [region.id for region in method.regions]
    told = credential.region
    if told is None and credential.api_url is not None:
        fitting = [region for region in known if _accepts(method, region, credential)]
        told = fitting[0] if len(fitting) == 1 else None
        if not fitting:
            _foreign(candidate, f"its API, {_host(credential.api_url)}, is none of MiniMax's")
    if told is not None and told not in known:
        _foreign(candidate, f"its region is none of {', '.join(known)}")
    if told is not None and request.region not in {None, told}:
        why = f"{candidate.path} says {told}"
        raise UnknownName(f"That sign-in is not of region {request.region}.", why=why, hint="Leave --region out.")
    return told or choices.region_of(app, method, request.region).id


def _check_portal(candidate: Candidate, server: OAuthServer) -> None:
    """A tool that signed in somewhere else has tokens that this region's server must not see."""
    url = candidate.credential.portal_url
    hosts = {_host(place) for place in (server.issuer, server.token_endpoint, *server.relocated)}
    if url is not None and (not url.startswith("https://") or _host(url) not in hosts):
        _foreign(candidate, f"it was signed in at {_host(url)}, and this region signs in at {_host(server.issuer)}")


def _api_base(candidate: Candidate, method: AuthMethod, region: str) -> str:
    credential = candidate.credential
    try:
        return method.accept(region, _grant(credential)).api_base
    except OAuthError:
        _foreign(candidate, f"its API, {_host(credential.api_url or '')}, is not one of region {region}")


def _accepts(method: AuthMethod, region: str, credential: FoundCredential) -> bool:
    try:
        method.accept(region, _grant(credential))
    except OAuthError:
        return False
    return True


def _grant(credential: FoundCredential) -> TokenSet:
    return TokenSet(credential.access, credential.refresh, credential.expires_at, resource_url=credential.api_url)


def _is_present(app: App, profile: Profile, credential: FoundCredential) -> bool:
    """Whether this very sign-in is stored under this name already.

    Raises:
        UsageError: another is, or this one is under another name: it would have two owners in one house.
    """
    for other in app.token_store.profiles():
        if other.provider != profile.provider:
            continue
        same = _holds(app, other.id, credential)
        if same and other.id == profile.id:
            return True
        if same:
            raise ProfileExists(f"That sign-in is stored already, as {other.id}.", hint="Leave --profile out.")
    if app.token_store.get(profile.id) is not None:
        raise _exists(profile.id)
    return False


def _exists(profile_id: str) -> UsageError:
    hint = f"Keep both: --profile NAME; or sign out first: {{prog}} auth logout {profile_id}"
    return ProfileExists(f"{profile_id} is signed in already.", hint=hint)


def _holds(app: App, profile_id: str, credential: FoundCredential) -> bool:
    try:
        tokens = app.token_store.read(profile_id).tokens
    except PorticoError:
        return False
    return tokens.access == credential.access or (tokens.refresh is not None and tokens.refresh == credential.refresh)


def _chosen(app: App, found: Sequence[Candidate]) -> str:
    tools = {candidate.importer.name: candidate for candidate in found}
    if len(tools) == 1:
        return next(iter(tools))
    rows = [Choice(name, candidate.importer.label, str(candidate.path)) for name, candidate in tools.items()]
    return app.prompter.choose("Whose sign-in should be taken over?", rows, flag="--from")


def _names() -> list[str]:
    return [importer.name for importer in IMPORTERS]


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or "an unreadable address"
    except ValueError:
        return "an unreadable address"


def _nothing(places: Sequence[tuple[Importer, Path]], retired: Sequence[Retired], now_ms: int) -> NoReturn:
    passed_over = {each.path: each for each in retired}
    looked = []
    for importer, place in places:
        if place in passed_over:
            looked.append(f"{place} (retired: {why_retired(passed_over[place], now_ms)})")
            continue
        is_there = os.path.exists(place)  # noqa: PTH110 - Path raises where it may not look
        if is_there or not importer.tables or place == _usual_place(importer, places):
            looked.append(f"{place} ({'no sign-in with MiniMax in it' if is_there else 'not there'})")
    move = (
        f"let the tool take its old file over ({retired[0].importer.repair_command}), and run this again; or " if retired else ""
    )
    raise NothingToImport(
        "There is no MiniMax sign-in of another tool to take over.",
        why=f"looked at {'; '.join(looked)}",
        hint=f"{move}name the file: --from {'|'.join(_names())} --path FILE; or sign in: {{prog}} onboard --auth-choice {CHOICE}",
    )


def _usual_place(importer: Importer, places: Sequence[tuple[Importer, Path]]) -> Path:
    return next(place for of, place in places if of is importer)


def why_retired(retired: Retired, now_ms: int) -> str:
    """Why nothing is taken from a retired file, and how old it is."""
    age = in_words(now_ms - max(0, now_ms - retired.written_at), now_ms).removeprefix("expired ")
    return f"{retired.importer.label} reads {retired.database} instead; last written {age}"


def _is_retired(retired: Retired, now_ms: int) -> ConfigError:
    return ImportUnreadable(
        f"{retired.importer.label} does not use {retired.path} any more; nothing was taken from it.",
        why=f"{why_retired(retired, now_ms)}; a token from it may be spent, and a spent one ends the sign-in",
        hint=f"take over what {retired.importer.label} uses now: {{prog}} auth import --from {retired.importer.name}",
    )


def _may_be_spent(ended: Candidate, unread: Unreadable) -> ConfigError:
    name = ended.importer.name
    ending = f"the access token in {ended.path} has ended, and a newer sign-in may be in the file that is not read"
    return ImportUnreadable(
        unread.error.message,
        why=f"{unread.error.why}; {ending}",
        where=unread.error.where,
        hint=f"if that one is an account of its own: {{prog}} auth import --from {name} --path {ended.path}; "
        f"or sign in instead: {{prog}} onboard --auth-choice {CHOICE}",
    )


def _foreign(candidate: Candidate, why: str) -> NoReturn:
    raise ImportUnreadable(
        f"The sign-in in {candidate.path} is not one of MiniMax's portals; nothing was stored.",
        why=why,
        hint=f"sign in instead: {{prog}} onboard --auth-choice {CHOICE}",
    )
