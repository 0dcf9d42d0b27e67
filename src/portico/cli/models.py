"""`models`: its subcommands (docs.openclaw.ai/cli/models), signing in by the provider's name, and `models list`.

`models list` lists the default model, the fallbacks and the models in the config, or with `--all` every known model.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

from portico.cli.dispatch import finish_pending_sign_ins
from portico.cli.parser import WRITE_BASE_HELP, add_command
from portico.errors import ExitCode, PorticoError, UnknownName, UsageError
from portico.interfaces.plugins import ModelSpec
from portico.models.catalog import CONFIG, CORRECTIONS, host_of
from portico.models.reference import ModelReference, UnknownModel, did_you_mean, unknown_model_error

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from portico.app import App
    from portico.cli.parser import Commands
    from portico.interfaces.plugins import ModelCost, PriceTier
    from portico.models.catalog import Provider
    from portico.models.client import Discovered
    from portico.models.loader import ModelLoader

_EXAMPLES = """examples:
  {prog} models                                        same as models status
  {prog} models list --all
  {prog} models set minimax-portal/MiniMax-M2.1
  {prog} models fallbacks add minimax/MiniMax-M2.1     ask this model if the default model fails
  {prog} models aliases add opus anthropic/claude-opus-4-6
  {prog} models auth login --provider minimax-portal --set-default
"""
_CHECK: Final = "exit with 1 if a model in use has no credential, with 2 if a credential expires soon"
_PROBE_PROFILE: Final = "with --probe, test only this account; repeatable"
_METHOD: Final = "same as --region, with OpenClaw's names: oauth means global, oauth-cn means cn"
_STATUS: Final = "portico.cli.models_status:show_status"
_EDIT: Final = "portico.cli.models_edit"
# OpenClaw's names of the MiniMax methods.
_REGION_OF_METHOD: Final = {"oauth": "global", "oauth-cn": "cn"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands of `models`."""
    parser.epilog = _EXAMPLES
    parser.set_defaults(handler=_STATUS, probe=False, check=False, plain=False)
    commands = parser.add_subparsers()
    _add_list(commands)
    _add_status(commands)
    _add_set(commands)
    _add_aliases(commands)
    _add_fallbacks(commands)
    epilog = "example:\n  {prog} models auth list"
    commands.add_parser("auth", help="sign in and out", epilog=epilog, arguments_from="portico.cli.models:add_auth_arguments")


def _add_list(commands: Commands) -> None:
    epilog = "examples:\n  {prog} models list --all --json\n  {prog} models list --live --provider minimax-portal"
    parser = commands.add_parser("list", help="list models", epilog=epilog)
    parser.add_argument("--all", action="store_true", help="list every known model, not only those in the config")
    parser.add_argument("--local", action="store_true", help="list only models on this machine; ask LM Studio for its models")
    parser.add_argument("--live", action="store_true", help="also ask your providers which models they have now")
    parser.add_argument("--plain", action="store_true", help="print model references only, one per line")
    parser.add_argument("--provider", metavar="ID", help="list only models of this provider")
    parser.set_defaults(handler=show_models)


def _add_status(commands: Commands) -> None:
    epilog = "examples:\n  {prog} models status --check; echo $?\n  {prog} models status --probe --probe-provider minimax-portal"
    parser = commands.add_parser("status", help="show the default model, fallbacks, aliases and accounts", epilog=epilog)
    parser.add_argument("--plain", action="store_true", help="print only the default model's reference")
    parser.add_argument("--check", action="store_true", help=_CHECK)
    parser.add_argument("--probe", action="store_true", help="test each credential with a small request")
    parser.add_argument("--probe-provider", metavar="ID", help="with --probe, test only this provider")
    parser.add_argument("--probe-profile", action="append", default=[], metavar="ID", help=_PROBE_PROFILE)
    parser.add_argument("--probe-timeout", type=float, default=8000.0, metavar="MS", help="request timeout in ms (default: 8000)")
    parser.add_argument("--probe-concurrency", type=int, default=2, metavar="N", help="number of parallel requests (default: 2)")
    parser.add_argument("--probe-max-tokens", type=int, default=8, metavar="N", help="limit of an answer, in tokens (default: 8)")
    parser.set_defaults(handler=_STATUS)


def _add_set(commands: Commands) -> None:
    epilog = "example:\n  {prog} models set minimax-portal/MiniMax-M2.1"
    parser = commands.add_parser("set", help="set the default model", epilog=epilog)
    parser.add_argument("reference", metavar="REF", help="provider/model or an alias")
    parser.add_argument("--write-base", action="store_true", help=WRITE_BASE_HELP)
    parser.set_defaults(handler="portico.cli.models_edit:set_default")


def _add_aliases(commands: Commands) -> None:
    epilog = "example:\n  {prog} models aliases add mm minimax-portal/MiniMax-M2.1"
    group = commands.add_parser("aliases", help="manage aliases, short names for models", epilog=epilog)
    actions = group.add_subparsers()
    add_command(actions, "models aliases list", "list the aliases", f"{_EDIT}:show_aliases")
    adding = add_command(
        actions, "models aliases add", "add an alias for a model", f"{_EDIT}:add_alias", "mm minimax-portal/MiniMax-M2.1"
    )
    adding.add_argument("alias", metavar="ALIAS", help="letters, digits and . _ : -")
    adding.add_argument("reference", metavar="REF", help="provider/model")
    removing = add_command(actions, "models aliases remove", "remove an alias", f"{_EDIT}:remove_alias", "mm")
    removing.add_argument("alias", metavar="ALIAS", help="the alias to remove")


def _add_fallbacks(commands: Commands) -> None:
    epilog = "example:\n  {prog} models fallbacks add minimax/MiniMax-M2.1"
    group = commands.add_parser("fallbacks", help="manage fallbacks, the models to ask if the default model fails", epilog=epilog)
    actions = group.add_subparsers()
    add_command(actions, "models fallbacks list", "list the fallbacks", f"{_EDIT}:show_fallbacks")
    adding = add_command(
        actions, "models fallbacks add", "add a fallback at the end", f"{_EDIT}:add_fallback", "minimax/MiniMax-M2.1"
    )
    removing = add_command(
        actions, "models fallbacks remove", "remove a fallback", f"{_EDIT}:remove_fallback", "minimax/MiniMax-M2.1"
    )
    for parser in (adding, removing):
        parser.add_argument("reference", metavar="REF", help="provider/model or an alias")
    add_command(actions, "models fallbacks clear", "remove all fallbacks", f"{_EDIT}:clear_fallbacks")


def add_auth_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands of `models auth`."""
    from portico.cli.auth import add_list, add_logout, add_order
    from portico.cli.onboard import add_sign_in_options  # needed by this subcommand only

    actions = parser.add_subparsers()
    epilog = "example:\n  {prog} models auth login --provider minimax-portal"
    signing_in = actions.add_parser("login", help="sign in to a provider", epilog=epilog)
    signing_in.add_argument("--provider", metavar="ID", help="the provider to sign in to (default: ask)")
    signing_in.add_argument("--method", metavar="ID", help=_METHOD)
    signing_in.add_argument("--set-default", action="store_true", help="set the provider's model as the default model")
    add_sign_in_options(signing_in)
    signing_in.set_defaults(handler=login)
    add_list(actions)
    add_logout(actions)
    add_order(actions)


def login(args: argparse.Namespace, app: App) -> int:
    """Sign in to `--provider`.

    Raises:
        UsageError: `unknown-name`.
    """
    from portico.accounts import choices
    from portico.accounts.sign_in import sign_in_as
    from portico.cli.onboard import sign_in_request

    if args.non_interactive:
        app = app.unattended()
    choice = choices.choice_of_provider(app, args.provider) if args.provider else choices.choose_provider(app)
    request = sign_in_request(args, choice=choice, make_default=True if args.set_default else None)
    sign_in_as(app, replace(request, region=request.region or _region(args.method)))
    return ExitCode.OK


def _region(method: str | None) -> str | None:
    if method is None:
        return None
    region = _REGION_OF_METHOD.get(method, method)
    if region not in _REGION_OF_METHOD.values():
        raise UnknownName(f"Unknown method: {method}", hint=f"--method {'|'.join(_REGION_OF_METHOD)}")
    return region


Auth = Literal["yes", "expired", "no"]
_THOUSAND = 1000
_MILLION = 1_000_000
_UNLISTED: Final = "nobody"  # in `listedBy`


@dataclass(frozen=True, slots=True)
class _Row:
    """One model. `missing` says why the model cannot be called.

    `listed_by` is the provider that lists the model, if it was asked.
    """

    reference: ModelReference
    spec: ModelSpec | None
    auth: Auth
    local: bool
    tags: tuple[str, ...]
    missing: str | None = None
    price_source: str | None = None
    listed_by: str | None = None


def show_models(args: argparse.Namespace, app: App) -> int:
    """Print the models.

    Raises:
        UsageError: `--json` with `--plain`; `unknown-name`.
    """
    if args.plain and app.out.is_json:
        raise UsageError("Choose either --json or --plain, not both.")
    finish_pending_sign_ins(app)
    if args.provider is not None:
        _check_provider(args.provider, app)
    rows = model_rows(app, everything=args.all, live=args.live or args.local, provider=args.provider)
    rows = [row for row in rows if row.local or not args.local]
    if app.out.is_json:
        app.out.json({"count": len(rows), "models": [_as_json(row) for row in rows]})
    elif args.plain:
        for row in rows:
            app.out.line(str(row.reference))
    elif rows:
        _show_table(rows, app)
    else:
        hint = "" if args.all or args.local else f" To list all known models: {app.program} models list --all"
        app.out.note(f"No models found.{hint}")
    return ExitCode.OK


def _check_provider(provider: str, app: App) -> None:
    from difflib import get_close_matches

    off = app.plugins.providers_off()
    known = app.models().catalog.providers
    if provider in known:
        return
    if provider in off:
        hint: str | None = f"{{prog}} plugins enable {off[provider]}"
    else:
        near = next(iter(get_close_matches(provider, [*known, *off], n=1)), None)
        hint = f"Did you mean {near}?" if near else f"--provider {'|'.join(known)}"
    raise UnknownName(f"Unknown provider: {provider}", hint=hint)


def model_rows(app: App, *, everything: bool, live: bool, provider: str | None) -> list[_Row]:
    """Return the models that the config names; with `everything` also all other known models, by provider and id.

    If the config names no model, return the models of the providers that have a credential, for example a key in the environment.
    With `live`, the providers are asked too; models that only the providers know come last.
    """
    loader = app.models()
    tags = _tags(loader, app)
    for alias, reference in loader.catalog.aliases.items():
        if everything or reference in tags:
            tags.setdefault(reference, []).append(f"alias:{alias}")
    references = dict.fromkeys([*tags, *(loader.catalog.references() if everything else ())])
    accounts = _ProviderFacts(loader, app)
    references = references or dict.fromkeys(accounts.references())
    wanted = [reference for reference in references if provider in {None, reference.provider}]
    rows = [_row(reference, tags.get(reference, []), accounts) for reference in wanted]
    return _with_live(rows, accounts, app, provider) if live else rows


def _tags(loader: ModelLoader, app: App) -> dict[ModelReference, list[str]]:
    agents = app.config.config.agents
    named = [(agents.primary, "default")] if agents.primary else []
    named += [(text, f"fallback#{place}") for place, text in enumerate(agents.fallbacks, 1)]
    named += [(key, "configured") for key in agents.models]
    tags: dict[ModelReference, list[str]] = {}
    for text, tag in named:
        try:
            tags.setdefault(loader.catalog.expand(text), []).append(tag)
        except UsageError as error:
            app.out.warn(f"{tag}: {error.message}")
    for provider_id, provider in app.config.config.models.providers.items():
        for model in provider.models:
            tags.setdefault(ModelReference(provider_id, model.id), [])
    return tags


def _row(reference: ModelReference, tags: list[str], accounts: _ProviderFacts) -> _Row:
    provider = accounts.loader.catalog.providers.get(reference.provider)
    spec = accounts.loader.catalog.find(reference)
    auth: Auth = accounts.auth(provider) if provider is not None else "no"
    return _Row(
        reference,
        spec,
        auth,
        provider is not None and accounts.is_local(provider),
        tuple(tags),
        missing=None if spec is not None else _why_missing(reference, accounts.loader),
        price_source=accounts.price_source(provider, reference.model) if provider is not None else None,
    )


def _why_missing(reference: ModelReference, loader: ModelLoader) -> str:
    off = loader.off_plugin(reference.provider)
    error = unknown_model_error(loader.catalog, reference, switched_off_by=off, kind=UnknownModel)
    suggestion = did_you_mean(loader.catalog.near(str(reference)))
    return f"{error.why}{f'. {suggestion}' if suggestion else ''}"


class _ProviderFacts:
    """Facts about each provider, cached for all of its models."""

    def __init__(self, loader: ModelLoader, app: App) -> None:
        self.loader = loader
        self._app = app
        self._auth: dict[str, Auth] = {}
        self._local: dict[str, bool] = {}

    def references(self) -> Iterator[ModelReference]:
        """Yield the models of every provider that needs a credential and has one."""
        for reference in self.loader.catalog.references():
            provider = self.loader.catalog.providers[reference.provider]
            if provider.spec is not None and provider.spec.needs_credential and self.auth(provider) != "no":
                yield reference

    def auth(self, provider: Provider) -> Auth:
        if provider.id not in self._auth:
            self._auth[provider.id] = self._auth_of(provider)
        return self._auth[provider.id]

    def is_local(self, provider: Provider) -> bool:
        if provider.id not in self._local:
            self._local[provider.id] = _is_local(self.loader.base_url(provider))
        return self._local[provider.id]

    def price_source(self, provider: Provider, model_id: str) -> str | None:
        """Return where a price comes from: a public source, or a file and line."""
        source = provider.prices.get(model_id)
        if source == CONFIG and provider.config is not None:
            index = next(index for index, model in enumerate(provider.config.models) if model.id == model_id)
            origin = self._app.config.effective.origin(("models", "providers", provider.id, "models", index, "cost"))
            return f"config: {origin}"
        return str(self._app.paths.config.parent / CORRECTIONS) if source == CORRECTIONS else source

    def _auth_of(self, provider: Provider) -> Auth:
        profile = self.loader.profile_for(provider)
        if profile is not None:
            from portico.auth.freshness import needs_sign_in

            return "expired" if needs_sign_in(profile, self._app.clock) else "yes"
        return "yes" if self.loader.has_credential(provider) else "no"


def _is_local(url: str | None) -> bool:
    host = host_of(url) if url else ""
    return host in {"localhost", "127.0.0.1", "0.0.0.0", "::1"} or host.endswith(".local")  # noqa: S104 - compared, not bound


def _with_live(rows: list[_Row], accounts: _ProviderFacts, app: App, provider: str | None) -> list[_Row]:
    """Return `rows`, each with the provider that lists the model, and then the models that only a provider knows."""
    listings = _listed_models(accounts, app, provider)
    lists = {id: {model.id: model for model in listed} for id, listed in listings.items()}
    checked = [_with_listing(row, lists) for row in rows]
    known = {row.reference for row in rows}
    more = [
        _live_row(ModelReference(id, model.id), model, accounts)
        for id, listed in lists.items()
        for model in listed.values()
        if ModelReference(id, model.id) not in known
    ]
    return [*checked, *more]


def _listed_models(accounts: _ProviderFacts, app: App, provider: str | None) -> dict[str, tuple[Discovered, ...]]:
    """Ask every provider that can be asked, with a credential if it needs one, for its models. A failure is only printed."""
    from portico.models.client import list_models
    from portico.net.errors import Unreachable

    models = {id: model for id, model in accounts.loader.one_of_each().items() if provider in {None, id}}
    listed = {}
    for id, outcome in list_models(app, models).items():
        if isinstance(outcome, PorticoError):
            app.out.note(f"{id}: not reached: {outcome}" if isinstance(outcome, Unreachable) else f"{id}: {outcome}")
        else:
            listed[id] = outcome
    return listed


def _with_listing(row: _Row, lists: dict[str, dict[str, Discovered]]) -> _Row:
    listed = lists.get(row.reference.provider)
    if listed is None:
        return row
    if row.reference.model not in listed:
        return replace(row, listed_by=_UNLISTED)
    id = row.reference.provider
    missing = None if row.missing is None else f"{row.missing}; {id} has it now. Add it to models.providers.{id}.models."
    return replace(row, listed_by=id, missing=missing)


def _live_row(reference: ModelReference, model: Discovered, accounts: _ProviderFacts) -> _Row:
    provider = accounts.loader.catalog.providers[reference.provider]
    known = provider.model(reference.model)
    spec = known or ModelSpec(model.id, model.name, model.context_window)
    row = _row(reference, ["live"], accounts)
    return replace(row, spec=spec, missing=None, listed_by=reference.provider)


def _show_table(rows: list[_Row], app: App) -> None:
    app.out.table(["Model", "Input", "Ctx", "Local", "Auth", "Price in/out", "Tags"], [_cells(row) for row in rows])
    for row in rows:
        if row.missing is not None:
            app.out.note(f"{row.reference} is missing: {row.missing}")
    specs = {row.spec.id: row.spec for row in rows if row.spec is not None and row.spec.note}
    for spec in specs.values():
        # A retired model is named even without `--verbose`.
        show = app.out.note if spec.successor is not None else app.out.detail
        show(f"{spec.id}: {spec.note}")


def _cells(row: _Row) -> list[str]:
    spec = row.spec
    size = _tokens(spec.context_window) if spec is not None and spec.context_window else "-"
    price = f"${spec.cost.input:g}/${spec.cost.output:g}" if spec is not None and spec.cost is not None else "-"
    return [
        str(row.reference),
        "+".join(spec.input) if spec is not None else "-",
        size,
        "yes" if row.local else "no",
        row.auth,
        price,
        ",".join(_shown_tags(row)),
    ]


def _shown_tags(row: _Row) -> list[str]:
    retired = row.spec is not None and row.spec.retired_on is not None
    return [*row.tags, *(["retired"] if retired else []), *(["missing"] if row.missing is not None else [])]


def _tokens(count: int) -> str:
    """Return a number of tokens for a table's cell, in decimal units as on the providers' pages."""
    return f"{round(count / _MILLION, 1):g}M" if count >= _MILLION else f"{round(count / _THOUSAND)}k"


def _as_json(row: _Row) -> dict[str, object]:
    spec, missing = row.spec, row.missing is not None
    fields: dict[str, object] = {
        "key": str(row.reference),
        "name": spec.name if spec is not None else str(row.reference),
        "input": "+".join(spec.input) if spec is not None else "-",
        "contextWindow": spec.context_window if spec is not None else None,
        "maxTokens": spec.max_tokens if spec is not None else None,
        "reasoning": spec.reasoning if spec is not None else None,
        "local": row.local if spec is not None else None,
        "available": row.auth == "yes" if spec is not None else None,
        "auth": row.auth,
        "tags": _shown_tags(row),
        "missing": missing,
    }
    if missing:
        fields["missingReason"] = row.missing
    if spec is not None:
        known = {"note": spec.note, "retiredOn": spec.retired_on, "successor": spec.successor}
        fields |= {name: value for name, value in known.items() if value is not None}
    if spec is not None and spec.cost is not None:
        tiers = [{"inputAbove": tier.input_above, **_prices(tier)} for tier in spec.cost.tiers]
        fields["cost"] = {**_prices(spec.cost), **({"tiers": tiers} if tiers else {})}
        fields["priceSource"] = row.price_source
    return fields if row.listed_by is None else {**fields, "listedBy": row.listed_by}


def _prices(cost: ModelCost | PriceTier) -> dict[str, object]:
    return {"input": cost.input, "output": cost.output, "cacheRead": cost.cache_read, "cacheWrite": cost.cache_write}
