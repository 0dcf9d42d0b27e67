"""`models auth login`: the same sign-in as `onboard`, by the provider's name."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from portico.errors import ExitCode, UsageError

if TYPE_CHECKING:
    import argparse

    from portico.cli.runtime import Runtime

# OpenClaw's names of the MiniMax methods.
_REGION_OF_METHOD: Final = {"oauth": "global", "oauth-cn": "cn"}


def login(args: argparse.Namespace, rt: Runtime) -> int:
    """Sign in to `--provider`.

    Raises:
        UsageError: `unknown-provider`, `unknown-method`.
    """
    from portico.cli.sign_in_options import request_from
    from portico.onboarding import choices
    from portico.onboarding.set_up import sign_in_as

    bench = rt.unattended() if args.non_interactive else rt
    choice = choices.choice_of_provider(bench, args.provider) if args.provider else choices.choose_provider(bench)
    request = request_from(args, choice=choice, make_default=True if args.set_default else None)
    sign_in_as(bench, replace(request, region=request.region or _region(args.method)))
    return ExitCode.OK


def _region(method: str | None) -> str | None:
    if method is None:
        return None
    region = _REGION_OF_METHOD.get(method, method)
    if region not in _REGION_OF_METHOD.values():
        raise UsageError("unknown-method", f"Unknown method: {method}", hint=f"--method {'|'.join(_REGION_OF_METHOD)}")
    return region
