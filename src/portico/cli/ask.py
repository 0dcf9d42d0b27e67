"""`ask`: one question to a model, its answer streamed to stdout."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portico.errors import ExitCode, UsageError

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
    parser.add_argument("text", nargs="?", metavar="TEXT", help="the question; -, or nothing in a pipe: read it from there")
    parser.set_defaults(handler=ask)


def ask(args: argparse.Namespace, rt: Runtime) -> int:
    """Stream one answer."""
    import asyncio

    from portico.cli.token import pick_profile, say_which
    from portico.models.loader import ModelLoader
    from portico.onboarding.choices import switched_off
    from portico.onboarding.pending import finish_pending

    question = _question(args.text)
    finish_pending(rt)
    off = switched_off(rt.plugins.records())
    loader = ModelLoader(rt.config.config, rt.plugins.providers(), rt.index.profiles(), rt.config.env, switched_off=off)
    profile = pick_profile(args.profile, rt) if args.profile is not None else None
    model = loader.load(args.model, profile=profile)
    if profile is None and model.profile_id is not None:
        say_which(loader, model.profile_id, rt)
    rt.out.detail(f"{model.reference} at {model.base_url}, credential from {model.source}")
    asyncio.run(_stream(model, question, rt))
    return ExitCode.OK


def _question(text: str | None) -> str:
    import sys

    piped = text is None and not sys.stdin.isatty()
    question = sys.stdin.read() if text == "-" or piped else text or ""
    if not question.strip():
        raise UsageError("usage", "There is no question.", hint='{prog} ask "Hello", or give it to standard input: {prog} ask -')
    return question


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
