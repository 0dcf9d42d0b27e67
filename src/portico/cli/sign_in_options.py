"""The options that every command which signs in shares, and the run itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from portico.accounts.sign_in import SignInRequest


def add_sign_in_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a sign-in; none of them has to be given."""
    from argparse import BooleanOptionalAction

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


def request_from(args: argparse.Namespace, *, choice: str, make_default: bool | None) -> SignInRequest:
    """What the options ask for."""
    from portico.accounts.sign_in import SignInRequest

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
