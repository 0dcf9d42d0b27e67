"""`configure`: the menus of the provider page, for what is set up here."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from portico.errors import ExitCode, UsageError

if TYPE_CHECKING:
    import argparse

    from portico.cli.runtime import Runtime
    from portico.onboarding.set_up import Asked
    from portico.onboarding.wizard.sections import Section

_EXAMPLES: Final = """examples:
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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `configure`."""
    parser.epilog = _EXAMPLES
    names = ", ".join(_SAME)
    parser.add_argument(
        "--section", action="append", choices=tuple(_SAME), metavar="NAME", help=f"only this section, of {names}; repeatable"
    )
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace, rt: Runtime) -> int:
    """Ask, section by section.

    Raises:
        UsageError: `input-needed`, with the commands that do the same.
    """
    wanted = args.section or []
    if not rt.prompter.interactive:
        same = "\n  ".join(_SAME[section] for section in (wanted or _SAME))
        message = "`configure` asks questions, and needs a terminal."
        raise UsageError("input-needed", message, hint=f"These do the same:\n  {same}")
    by_id = {section.id: section for section in sections(rt)}
    if wanted:
        for id in dict.fromkeys(wanted):
            by_id[id].run()
        return ExitCode.OK
    from portico.onboarding.wizard import base
    from portico.onboarding.wizard.sections import run_sections

    base.offer(rt)
    run_sections(rt, [*by_id.values()])
    rt.out.note(f"Done: {rt.paths.config}")
    if rt.reload_config().config.agents.primary is not None:  # without a default model there is none to ask
        rt.out.note(f'Next:  {rt.program} ask "Hello"   |   {rt.program} models list')
    return ExitCode.OK


def sections(rt: Runtime) -> list[Section]:
    """What can be configured, in the order of the menu."""
    from portico.onboarding.wizard import allowed, default, fallbacks, model_auth
    from portico.onboarding.wizard.sections import Section

    asked = _nothing_asked()
    return [
        Section("model", "Model/auth", partial(model_auth.hint, rt), partial(model_auth.model_auth, rt, asked)),
        Section("default-model", "Default model", partial(default.hint, rt), partial(default.default_model, rt)),
        Section("fallbacks", "Fallbacks", partial(fallbacks.hint, rt), partial(fallbacks.fallbacks, rt)),
        Section("allowed-models", "Allowed models", partial(allowed.hint, rt), partial(allowed.allowed_models, rt)),
        Section("health", "Health check", lambda: "one tiny question to each sign-in and key", partial(_check, rt)),
    ]


def _nothing_asked() -> Asked:
    """As `onboard` without a single option."""
    from portico.cli import onboard
    from portico.cli.parser import make_parser

    parser = make_parser("", "onboard", "")
    onboard.add_arguments(parser)
    return onboard.asked_by(parser.parse_args([]))


def _check(rt: Runtime) -> None:
    """As `models status --probe`."""
    from portico.cli import models
    from portico.cli.parser import make_parser

    parser = make_parser(rt.program, "models", "")
    models.add_arguments(parser)
    models.status(parser.parse_args(["status", "--probe"]), rt)
