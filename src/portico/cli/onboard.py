"""`onboard` and `configure`: sign in to a provider and set the default model, by options or from menus."""

from __future__ import annotations

from argparse import BooleanOptionalAction
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from portico.accounts import choices
from portico.accounts.sign_in import KeyRequest, SetUpRequest, SignInRequest, set_up
from portico.cli.dispatch import COMMANDS
from portico.cli.parser import PROFILE_HELP, STORE_HELP, make_parser
from portico.errors import ExitCode
from portico.secret import Secret
from portico.terminal.prompts import JSON_ASKS_NOTHING, InputNeeded
from portico.util.files import read_text

if TYPE_CHECKING:
    import argparse

    from portico.accounts.wizard import Section
    from portico.app import App

_ONBOARD_EXAMPLES = """examples:
  {prog} onboard                                                  choose the provider, sign-in method and model from menus
  {prog} onboard --auth-choice minimax-portal                     sign in to MiniMax; asks for the region
  {prog} onboard --auth-choice minimax-portal --region cn --flow device --non-interactive --json
  {prog} onboard --auth-choice minimax-api                        use an API key; asks for the key
  {prog} onboard --auth-choice minimax-cn-api --api-key-stdin --non-interactive < key.txt
  {prog} onboard --auth-choice lmstudio                           use a model on this machine
"""
_CONFIGURE_EXAMPLES: Final = """examples:
  {prog} configure                      choose from menus, for example Model/auth > MiniMax > MiniMax M2.1
  {prog} configure --section model      open the section Model/auth directly

Ctrl-C quits without saving the current section. The sections that you completed before stay saved.
"""
_AUTH_CHOICE: Final = "sign-in method, for example minimax-portal or minimax-api (default: ask)"
_FLOW: Final = (
    "browser: redirect to this machine; device: enter a code on the provider's page; "
    "auto: the flows that the provider offers, both at once if it offers both (default: auto)"
)
_REPLACE: Final = "replace an account of the same name, and revoke its tokens (default: ask)"
_BACKGROUND: Final = "start, or do not start, a background process that refreshes the tokens (default: ask)"
_KEEP_KEY: Final = (
    "where to keep the key; keyring: in the token store; env: only in the environment variable that you set; "
    "config: in the config file, as plain text (default: ask; without a terminal, keyring)"
)
# The commands that do the same without a terminal.
_SAME: Final = {
    "model": "{prog} onboard --auth-choice ID --non-interactive",
    "default-model": "{prog} models set REF",
    "fallbacks": "{prog} models fallbacks add REF",
    "allowed-models": '{prog} config set \'agents.defaults.models["REF"]\' "{}"',
    "health": "{prog} models status --probe",
}


def add_onboard_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `onboard`."""
    parser.epilog = _ONBOARD_EXAMPLES
    parser.add_argument("--auth-choice", metavar="ID", help=_AUTH_CHOICE)
    add_sign_in_options(parser)
    parser.add_argument("--default-model", metavar="MODEL", help="the new default model (default: the provider's default model)")
    parser.add_argument("--keep-default", action="store_true", help="change neither the default model nor the account in use")
    keys = parser.add_argument_group("with an API key")
    keys.add_argument("--api-key-stdin", action="store_true", help="read the key from standard input")
    keys.add_argument("--keep-key", choices=("keyring", "env", "config"), help=_KEEP_KEY)
    keys.add_argument("--no-check", action="store_true", help="do not test the key with a request")
    parser.set_defaults(handler=onboard)


def add_sign_in_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a sign-in. All of them are optional."""
    parser.add_argument("--region", metavar="ID", help="region of the portal, for example global or cn (default: ask)")
    parser.add_argument("--flow", choices=("auto", "browser", "device"), help=_FLOW)
    parser.add_argument("--force", action="store_true", help="try the flow even if the provider is not known to offer it")
    parser.add_argument("--profile", metavar="NAME", help=PROFILE_HELP)
    parser.add_argument("--store", choices=("keyring", "file"), help=STORE_HELP)
    parser.add_argument("--no-browser", action="store_true", help="print the sign-in address; do not open a browser")
    parser.add_argument("--non-interactive", action="store_true", help="do not ask questions; works without a terminal")
    parser.add_argument("--timeout", type=float, metavar="S", help="time to wait for your approval, in seconds (default: 900)")
    parser.add_argument("--replace", action="store_true", help=_REPLACE)
    parser.add_argument(
        "--callback-port", type=int, metavar="PORT", help="port for the browser's redirect (default: any free port)"
    )
    parser.add_argument("--background", action=BooleanOptionalAction, default=None, help=_BACKGROUND)


def onboard(args: argparse.Namespace, app: App) -> int:
    """Sign in; ask for everything that the options do not specify."""
    if args.non_interactive:
        app = app.unattended()
    if args.auth_choice is None and app.prompter.interactive:
        from portico.accounts.wizard import first_set_up

        first_set_up(app, _set_up_request(args, app))
    else:
        set_up(app, args.auth_choice or choices.choose_auth_choice(app), _set_up_request(args, app))
    return ExitCode.OK


def _set_up_request(args: argparse.Namespace, app: App) -> SetUpRequest:
    """Return the request that the options describe, for a sign-in or an API key."""
    request = sign_in_request(args, choice="", make_default=not args.keep_default)
    key = KeyRequest(
        "",
        key=Secret(read_text(app.stdin, line=True)) if args.api_key_stdin else None,
        place=args.keep_key,
        default_model=args.default_model,
        keep_default=args.keep_default,
        region=args.region,
        profile=args.profile,
        store=args.store,
        check=not args.no_check,
        replace=args.replace,
    )
    return SetUpRequest(replace(request, default_model=args.default_model), key)


def sign_in_request(args: argparse.Namespace, *, choice: str, make_default: bool | None) -> SignInRequest:
    """Return the sign-in that the options describe."""
    return SignInRequest(
        choice=choice,
        region=args.region,
        flow=args.flow,
        force=args.force,
        profile=args.profile,
        store=args.store,
        open_browser=not args.no_browser,
        timeout_s=args.timeout,
        replace=args.replace,
        callback_port=args.callback_port,
        make_default=make_default,
        background=args.background,
    )


def add_configure_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `configure`."""
    parser.epilog = _CONFIGURE_EXAMPLES
    names = ", ".join(_SAME)
    parser.add_argument(
        "--section", action="append", choices=tuple(_SAME), metavar="NAME", help=f"show only this section: {names}; repeatable"
    )
    parser.set_defaults(handler=configure)


def configure(args: argparse.Namespace, app: App) -> int:
    """Show the menu, or run the sections that the options name.

    Raises:
        UsageError: `input-needed`, with the commands that do the same.
    """
    wanted = args.section or []
    if not app.prompter.interactive:
        same = "\n  ".join(_SAME[section] for section in (wanted or _SAME))
        why = JSON_ASKS_NOTHING if app.options.json else None
        raise InputNeeded("`configure` needs a terminal.", why=why, hint=f"To do the same without a terminal:\n  {same}")
    by_id = {section.id: section for section in menu_sections(app)}
    if wanted:
        for id in dict.fromkeys(wanted):
            by_id[id].run()
        return ExitCode.OK
    from portico.accounts import wizard

    wizard.offer_base(app)
    wizard.run_sections(app, [*by_id.values()])
    app.out.note(f"Done: {app.paths.config}")
    if app.reload_config().config.agents.primary is not None:  # `ask` needs a default model
        app.out.note(f'Next:  {app.program} ask "Hello"   |   {app.program} models list')
    return ExitCode.OK


def menu_sections(app: App) -> list[Section]:
    """Return the sections of the menu, in order."""
    from portico.accounts import wizard
    from portico.accounts.wizard import Section

    request = _empty_request(app)
    return [
        Section("model", "Model/auth", partial(wizard.model_auth_hint, app), partial(wizard.model_auth, app, request)),
        Section("default-model", "Default model", partial(wizard.default_model_hint, app), partial(wizard.default_model, app)),
        Section("fallbacks", "Fallbacks", partial(wizard.fallbacks_hint, app), partial(wizard.fallbacks, app)),
        Section(
            "allowed-models", "Allowed models", partial(wizard.allowed_models_hint, app), partial(wizard.allowed_models, app)
        ),
        Section("health", "Health check", lambda: "test each account and key with a request", partial(_probe_accounts, app)),
    ]


def _empty_request(app: App) -> SetUpRequest:
    """Return the request of an `onboard` command without options."""
    parser = make_parser("", "onboard", "")
    add_onboard_arguments(parser)
    return _set_up_request(parser.parse_args([]), app)


def _probe_accounts(app: App) -> None:
    """Run `models status --probe`."""
    from portico.cli.models_status import show_status

    parser = make_parser(app.program, "models", "")
    COMMANDS["models"].add_arguments(parser)
    show_status(parser.parse_args(["status", "--probe"]), app)
