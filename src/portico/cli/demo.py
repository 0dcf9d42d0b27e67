"""`demo`: a whole sign-in against the emulator, with the real commands, in a few seconds, leaving nothing behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from portico.cli.runtime import Runtime

_EXAMPLES = """examples:
  {prog} demo                               browser flow, Global portal
  {prog} demo --flow device --region cn     device code, CN portal
  {prog} demo --keep                        leave emulator and sign-in, to try commands by hand

No account and no network are needed: MiniMax is played by an emulator on this machine. The redirect of the browser flow is the
emulator's own; MiniMax itself offers third parties only the device code.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `demo`."""
    parser.epilog = _EXAMPLES
    parser.add_argument("--flow", choices=("browser", "device"), default="browser", help="how to sign in (browser)")
    parser.add_argument("--region", choices=("global", "cn"), default="global", help="which portal (global)")
    parser.add_argument("--keep", action="store_true", help="leave emulator and sign-in for trying commands")
    parser.set_defaults(handler=demo, tells_trouble=False)


def demo(args: argparse.Namespace, rt: Runtime) -> int:
    """Play the whole sign-in."""
    from portico.cli.demo_play import Play
    from portico.cli.demo_stage import run_on_stage

    rt = rt.outside_emulator()
    play = Play(flow=args.flow, region=args.region, keep=args.keep)
    if not args.keep:
        return run_on_stage(rt, play)
    from portico.cli.demo_keep import run_and_keep

    return run_and_keep(rt, play)
