"""`onboard` and `configure`: sign in to a provider and make one of its models the default, by flags or from menus."""

from __future__ import annotations

from argparse import BooleanOptionalAction
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from portico.accounts import choices
from portico.accounts.sign_in import KeyRequest, SetUpRequest, SignInRequest, set_up
from portico.cli.commands import COMMANDS
from portico.cli.parser import make_parser
from portico.errors import ExitCode
from portico.secret import Secret
from portico.terminal.prompts import InputNeeded
from portico.util.files import read_text

if TYPE_CHECKING:
    import argparse

    from portico.accounts.wizard import Section
    from portico.app import App

_ONBOARD_EXAMPLES = """examples:
  {prog} onboard                                                  choose a provider, a way and a model from menus
  {prog} onboard --auth-choice minimax-portal                     sign in to MiniMax; the region is asked
  {prog} onboard --auth-choice minimax-portal --region cn --flow device --non-interactive --json
  {prog} onboard --auth-choice minimax-api                        an API key, asked for without an echo
  {prog} onboard --auth-choice minimax-cn-api --api-key-stdin --non-interactive < key.txt
  {prog} onboard --auth-choice lmstudio                           a model on this machine
"""
_CONFIGURE_EXAMPLES: Final = """examples:
  {prog} configure                      choose from the menu: Model/auth, MiniMax, MiniMax M2.1, the default model
  {prog} configure --section model      straight to Model/auth

Ctrl-C leaves; the section in which it is pressed then changes nothing.
"""
# What does the same where nobody can be asked.
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
    parser.add_argument("--auth-choice", metavar="ID", help="how to sign in, for example minimax-portal or minimax-api")
    add_sign_in_options(parser)
    parser.add_argument("--default-model", metavar="MODEL", help="the default model, where it is not to be the choice's own")
    parser.add_argument("--keep-default", action="store_true", help="keep the default model and the account in use as they are")
    keys = parser.add_argument_group("with an API key")
    keys.add_argument("--api-key-stdin", action="store_true", help="read the key from standard input")
    keys.add_argument("--keep-key", choices=("keyring", "env", "config"), help="where the key is kept (keyring)")
    keys.add_argument("--no-check", action="store_true", help="do not try the key by a request")
    parser.set_defaults(handler=onboard)


def add_sign_in_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a sign-in; none of them has to be given."""
    parser.add_argument("--region", metavar="ID", help="which portal, for example global or cn")
    parser.add_argument(
        "--flow", choices=("auto", "browser", "device"), help="browser: a redirect to this machine; device: a code to enter"
    )
    parser.add_argument("--force", action="store_true", help="try the flow also where it is not known to be served")
    parser.add_argument("--profile", metavar="NAME", help="keep the sign-in under this name")
    parser.add_argument("--store", choices=("keyring", "file"), help="where the tokens are kept")
    parser.add_argument("--no-browser", action="store_true", help="open no browser; print the address")
    parser.add_argument("--non-interactive", action="store_true", help="ask nothing; works without a terminal")
    parser.add_argument("--timeout", type=float, metavar="S", help="how long to wait for the approval (900)")
    parser.add_argument("--replace", action="store_true", help="replace a profile of the same name; the old one is revoked")
    parser.add_argument("--callback-port", type=int, metavar="PORT", help="the port that the redirect comes back to")
    parser.add_argument(
        "--background", action=BooleanOptionalAction, default=None, help="keep the sign-in fresh by a background process"
    )


def onboard(args: argparse.Namespace, app: App) -> int:
    """Sign in as asked; what was not said is asked."""
    if args.non_interactive:
        app = app.unattended()
    if args.auth_choice is None and app.prompter.interactive:
        from portico.accounts.wizard import first_set_up

        first_set_up(app, _set_up_request(args, app))
    else:
        set_up(app, args.auth_choice or choices.choose_auth_choice(app), _set_up_request(args, app))
    return ExitCode.OK


def _set_up_request(args: argparse.Namespace, app: App) -> SetUpRequest:
    """What the options ask for, of either kind of choice."""
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
    """The sign-in that the options ask for."""
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
        "--section", action="append", choices=tuple(_SAME), metavar="NAME", help=f"only this section, of {names}; repeatable"
    )
    parser.set_defaults(handler=configure)


def configure(args: argparse.Namespace, app: App) -> int:
    """Ask, section by section.

    Raises:
        UsageError: `input-needed`, with the commands that do the same.
    """
    wanted = args.section or []
    if not app.prompter.interactive:
        same = "\n  ".join(_SAME[section] for section in (wanted or _SAME))
        message = "`configure` asks questions, and needs a terminal."
        raise InputNeeded(message, hint=f"These do the same:\n  {same}")
    by_id = {section.id: section for section in menu_sections(app)}
    if wanted:
        for id in dict.fromkeys(wanted):
            by_id[id].run()
        return ExitCode.OK
    from portico.accounts import wizard

    wizard.offer_base(app)
    wizard.run_sections(app, [*by_id.values()])
    app.out.note(f"Done: {app.paths.config}")
    if app.reload_config().config.agents.primary is not None:  # without a default model there is none to ask
        app.out.note(f'Next:  {app.program} ask "Hello"   |   {app.program} models list')
    return ExitCode.OK


def menu_sections(app: App) -> list[Section]:
    """What can be configured, in the order of the menu."""
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
        Section("health", "Health check", lambda: "one tiny question to each sign-in and key", partial(_probe_accounts, app)),
    ]


def _empty_request(app: App) -> SetUpRequest:
    """As `onboard` without a single option."""
    parser = make_parser("", "onboard", "")
    add_onboard_arguments(parser)
    return _set_up_request(parser.parse_args([]), app)


def _probe_accounts(app: App) -> None:
    """As `models status --probe`."""
    from portico.cli.models_status import show_status

    parser = make_parser(app.program, "models", "")
    COMMANDS["models"].add_arguments(parser)
    show_status(parser.parse_args(["status", "--probe"]), app)
