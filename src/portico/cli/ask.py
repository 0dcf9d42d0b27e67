"""`ask`: one question to a model, its answer streamed to stdout."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portico.errors import ExitCode

if TYPE_CHECKING:
    import argparse

    from portico.cli.runtime import Runtime
    from portico.models.loader import CallableModel

_EXAMPLES = """examples:
  {prog} ask "Why is the sky blue?"
  {prog} ask --model minimax-portal/MiniMax-M2.1-lightning "Say it in one sentence."
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `ask`."""
    parser.epilog = _EXAMPLES
    parser.add_argument("--model", metavar="REF", help="provider/model or an alias; else the default model")
    parser.add_argument("--profile", metavar="PROFILE", help="the sign-in to use; `auth list` names them")
    parser.add_argument("text", metavar="TEXT", help="the question")
    parser.set_defaults(handler=ask)


def ask(args: argparse.Namespace, rt: Runtime) -> int:
    """Stream one answer."""
    import asyncio

    from portico.cli.token import pick_profile, say_which
    from portico.models.loader import ModelLoader
    from portico.onboarding.pending import finish_pending

    finish_pending(rt)
    loader = ModelLoader(rt.config.config, rt.plugins.providers(), rt.index.profiles(), rt.config.env)
    profile = pick_profile(args.profile, rt) if args.profile is not None else None
    model = loader.load(args.model, profile=profile)
    if profile is None and model.profile_id is not None:
        say_which(loader, model.profile_id, rt)
    rt.out.detail(f"{model.reference} at {model.base_url}, credential from {model.source}")
    asyncio.run(_stream(model, args.text, rt))
    return ExitCode.OK


async def _stream(model: CallableModel, text: str, rt: Runtime) -> None:
    from portico.models.http import ModelHttp
    from portico.models.messages import stream_answer

    pieces = []
    async with rt.http() as oauth, ModelHttp() as http:
        async for piece in stream_answer(model, text, http=http, broker=rt.broker(oauth)):
            pieces.append(piece)
            if not rt.out.is_json:
                rt.out.write(piece)
    if rt.out.is_json:
        rt.out.json({"model": str(model.reference), "source": model.source, "answer": "".join(pieces)})
    else:
        rt.out.line()
