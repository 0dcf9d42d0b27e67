"""`onboard`: sign in to a provider and make one of its models the default."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from portico.cli.runtime import Runtime
    from portico.onboarding.set_up import Asked

_EXAMPLES = """examples:
  {prog} onboard                                                  choose a provider, a way and a model from menus
  {prog} onboard --auth-choice minimax-portal                     sign in to MiniMax; the region is asked
  {prog} onboard --auth-choice minimax-portal --region cn --flow device --non-interactive --json
  {prog} onboard --auth-choice minimax-api                        an API key, asked for without an echo
  {prog} onboard --auth-choice minimax-cn-api --api-key-stdin --non-interactive < key.txt
  {prog} onboard --auth-choice lmstudio                           a model on this machine
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `onboard`."""
    from portico.cli.sign_in_options import add_sign_in_options

    parser.epilog = _EXAMPLES
    parser.add_argument("--auth-choice", metavar="ID", help="how to sign in, for example minimax-portal or minimax-api")
    add_sign_in_options(parser)
    parser.add_argument("--default-model", metavar="MODEL", help="the default model, where it is not to be the choice's own")
    parser.add_argument("--keep-default", action="store_true", help="keep the default model and the account in use as they are")
    keys = parser.add_argument_group("with an API key")
    keys.add_argument("--api-key-stdin", action="store_true", help="read the key from standard input")
    keys.add_argument("--keep-key", choices=("keyring", "env", "config"), help="where the key is kept (keyring)")
    keys.add_argument("--no-check", action="store_true", help="do not try the key by a request")
    parser.set_defaults(handler=onboard)


def onboard(args: argparse.Namespace, rt: Runtime) -> int:
    """Sign in as asked; what was not said is asked."""
    from portico.errors import ExitCode
    from portico.onboarding import choices
    from portico.onboarding.set_up import set_up

    bench = rt.unattended() if args.non_interactive else rt
    if args.auth_choice is None and bench.prompter.interactive:
        from portico.onboarding.wizard.model_auth import first_set_up

        first_set_up(bench, asked_by(args))
    else:
        set_up(bench, args.auth_choice or choices.choose(bench), asked_by(args))
    return ExitCode.OK


def asked_by(args: argparse.Namespace) -> Asked:
    """What the options ask for, of either kind of choice."""
    import sys
    from dataclasses import replace

    from portico.cli.sign_in_options import request_from
    from portico.onboarding.request import KeyRequest
    from portico.onboarding.set_up import Asked
    from portico.secret import Secret
    from portico.util.files import read_text

    request = request_from(args, choice="", make_default=not args.keep_default)
    key = KeyRequest(
        "",
        key=Secret(read_text(sys.stdin, line=True)) if args.api_key_stdin else None,
        place=args.keep_key,
        default_model=args.default_model,
        keep_default=args.keep_default,
        region=args.region,
        profile=args.profile,
        store=args.store,
        check=not args.no_check,
        replace=args.replace,
    )
    return Asked(replace(request, default_model=args.default_model), key)
