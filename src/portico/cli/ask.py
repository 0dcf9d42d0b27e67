"""`ask`: one question to a model, its answer streamed to stdout, and noted in the history when it has been shown."""

from __future__ import annotations

import base64
from asyncio import CancelledError
from typing import TYPE_CHECKING, Final

from portico.cli.dispatch import finish_pending_sign_ins
from portico.errors import ExitCode, PorticoError, UsageError
from portico.models.catalog import retirement_notice
from portico.models.client import ask as ask_model
from portico.models.client import fitted
from portico.models.failover import Cooldowns, Failover
from portico.models.loader import Resolution
from portico.models.protocols import Image, Question, Usage, list_price
from portico.models.thinking import thinking_warning
from portico.usage.entry import ANSWERED, CUT, LEFT, entry_of
from portico.util import signals
from portico.util.files import read_file, read_text

if TYPE_CHECKING:
    import argparse
    from typing import TextIO

    from portico.app import App
    from portico.interfaces.basics import Clock
    from portico.models.failover import Attempt
    from portico.models.loader import CallableModel
    from portico.models.protocols import Piece

EFFORTS = ("low", "medium", "high", "xhigh", "max")
_LARGEST_IMAGE = 20 << 20  # bytes; no provider takes a larger one
_CLIENT: Final = "ask"  # its name in the history
_LEAVING: Final = (KeyboardInterrupt, CancelledError, BrokenPipeError)
_EXAMPLES = """examples:
  {prog} ask "Why is the sky blue?"
  {prog} ask --model minimax-portal/MiniMax-M2.1-lightning "Say it in one sentence."
  git diff | {prog} ask - --model opus          an alias; the question comes from the pipe
  {prog} ask --json --no-fallback "Hello"       which model answered, what it used, what it cost

Where the default model cannot answer (no credential, a used-up plan, a server that fails), the fallbacks of the configuration are
asked in their order, and stderr says which one answered. Any other model is answered by itself or not at all.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `ask`."""
    parser.epilog = _EXAMPLES
    parser.add_argument("--model", metavar="REF", help="provider/model or an alias; else the default model")
    parser.add_argument("--profile", metavar="PROFILE", help="the sign-in to use; `auth list` names them")
    parser.add_argument("--no-fallback", action="store_true", help="ask one account or key of the model, and nothing else")
    parser.add_argument("--max-tokens", type=int, metavar="N", help="the longest answer, in tokens (8192; 32768 with thinking)")
    parser.add_argument("--effort", choices=EFFORTS, help="how much a reasoning model thinks; not every model has each level")
    parser.add_argument("--thinking", choices=("on", "off"), help="switch thinking on or off; else the model decides")
    parser.add_argument("--image", action="append", default=[], metavar="FILE", help="a picture to ask about; repeatable")
    parser.add_argument("text", nargs="?", metavar="TEXT", help="the question; -, or nothing in a pipe: read it from there")
    parser.set_defaults(handler=ask)


def ask(args: argparse.Namespace, app: App) -> int:
    """Stream one answer."""
    question = _read_question(args, app.stdin)
    finish_pending_sign_ins(app)
    resolution = _resolve_models(args, app)
    _show_passed_over(resolution, app)
    record = RequestRecord(Failover(resolution.candidates, Cooldowns(app.clock), resolution.wanted), app.clock)
    try:
        signals.run(_stream(record, question, args.max_tokens, app))
    except BaseException as error:
        record.fail(error)
        raise
    finally:
        record.save(app)
    return ExitCode.OK


def _resolve_models(args: argparse.Namespace, app: App) -> Resolution:
    loader = app.models()
    if args.profile is not None:
        from portico.cli.auth_token import pick_profile

        return Resolution((loader.load(args.model, profile=pick_profile(args.profile, app)),))
    if args.no_fallback:
        return Resolution((loader.load(args.model),))
    resolution = loader.resolve(args.model)
    first = resolution.model
    if first.profile_id is not None and (choice := loader.describe_choice(first.profile_id)) is not None:
        app.out.note(choice)
    return resolution


def _show_passed_over(resolution: Resolution, app: App) -> None:
    for passed in resolution.passed:
        app.out.note(f"{passed.reference} is passed over: {passed.error.why or passed.error.message}")
    model = resolution.model
    if (text := retirement_notice(model.spec)) is not None:
        app.out.note(text)
    app.out.detail(f"{model.reference} at {model.base_url}, credential from {model.source}")


def _read_question(args: argparse.Namespace, stdin: TextIO) -> Question:
    if args.max_tokens is not None and args.max_tokens < 1:
        raise UsageError("--max-tokens is a whole number of 1 or more.")
    if args.thinking == "off" and args.effort is not None:
        raise UsageError("Choose either --thinking off or --effort, not both.")
    piped = args.text is None and not stdin.isatty()
    text = read_text(stdin) if args.text == "-" or piped else args.text or ""
    if not text.strip():
        raise UsageError("There is no question.", hint='{prog} ask "Hello", or give it to standard input: {prog} ask -')
    return Question(text, 0, tuple(map(_read_image, args.image)), args.effort, args.thinking)


def _read_image(path: str) -> Image:
    import mimetypes  # it reads the system's lists

    kind = mimetypes.guess_type(path)[0] or ""
    if not kind.startswith("image/"):
        raise UsageError(f"This is not a picture by its name: {path}", hint="PNG, JPEG, GIF or WebP")
    try:
        data = read_file(path, _LARGEST_IMAGE)
    except OSError as error:
        raise UsageError(f"{path} cannot be read.", why=error.strerror) from None
    return Image(kind, base64.b64encode(data).decode())


async def _stream(record: RequestRecord, question: Question, max_tokens: int | None, app: App) -> None:
    pieces = []

    def show_failed_attempt(attempt: Attempt) -> None:
        app.out.note(f"{attempt.model.reference} ({attempt.model.source}) does not answer: {attempt.why}")

    def question_for(model: CallableModel) -> Question:
        fitting = fitted(question, model, max_tokens)
        if (text := thinking_warning(question, model)) is not None:
            app.out.note(text)
        return fitting

    async with app.http() as http:
        record.start()
        answer = await ask_model(record.failover, question_for, http=http, broker=app.broker(http), on_failed=show_failed_attempt)
        async for piece in answer.pieces():
            record.add(piece)
            pieces.append(piece.text)
            if piece.text and not app.out.is_json:
                app.out.write(piece.text)
    record.finish()
    _show_result(answer.model, record.failover, "".join(pieces), record.usage, app)


def _show_result(model: CallableModel, failover: Failover, text: str, usage: Usage, app: App) -> None:
    cost = list_price(usage, model.spec.cost)
    if not app.out.is_json:
        app.out.line()
        if len(failover.attempts) > 1:
            app.out.note(f"Answered by {model.reference}.")
        price = "" if cost is None else f", ${cost:.6f} at list prices"
        app.out.detail(f"{usage.input} tokens in, {usage.output} out{price}")
        return
    attempts = [
        {"model": str(each.model.reference), "source": each.model.source, "outcome": each.outcome} for each in failover.attempts
    ]
    for attempt, tried in zip(attempts, failover.attempts, strict=True):
        if tried.why:
            attempt["why"] = tried.why
    usage_fields = {"input": usage.input, "output": usage.output, "cacheRead": usage.cache_read, "cacheWrite": usage.cache_write}
    if usage.cache_write_1h:
        usage_fields["cacheWrite1h"] = usage.cache_write_1h
    fields = {"model": str(model.reference), "source": model.source, "answer": text, "usage": usage_fields, "cost": cost}
    app.out.json({**fields, "attempts": attempts})


class RequestRecord:
    """What the usage history notes of one request: `failover` has the attempts, `usage` the tokens used so far."""

    def __init__(self, failover: Failover, clock: Clock) -> None:
        self.usage = Usage()
        self.failover = failover
        self._clock = clock
        self._at_ms = 0
        self._began: float | None = None
        self._first_byte_ms: int | None = None
        self._latency_ms: int | None = None
        self._outcome = ANSWERED

    def start(self) -> None:
        """Start the clock: the question is sent next."""
        self._at_ms, self._began = self._clock.wall_ms(), self._clock.monotonic()

    def add(self, piece: Piece) -> None:
        """Add a piece of the answer."""
        if self._first_byte_ms is None:
            self._first_byte_ms = self._passed_ms()
        if piece.usage is not None:
            self.usage = self.usage.updated(piece.usage)

    def finish(self) -> None:
        """Note that the answer is complete."""
        self._latency_ms = self._passed_ms()

    def fail(self, error: BaseException) -> None:
        """Note that the request ended without a complete answer."""
        self._latency_ms = self._passed_ms()
        self._outcome = self._outcome_of(error)
        if isinstance(error, UsageError) and not self.failover.attempts:
            self._began = None  # what the question itself lacks is found out before it is sent

    def save(self, app: App) -> None:
        """Write it into the history, unless the config says not to; two seconds at most."""
        history = app.history() if self._began is not None else None
        if history is None:
            return
        tried = [attempt for attempt in self._attempts_that_count() if attempt.outcome != "passed over"]
        history.record(
            entry_of(
                self._model(),
                self.usage,
                at_ms=self._at_ms,
                client=_CLIENT,
                outcome=self._outcome,
                attempts=max(1, len(tried)),
                first_byte_ms=self._first_byte_ms,
                latency_ms=self._latency_ms,
            )
        )
        if not history.close() and not history.dropped:
            app.out.detail("The usage history was busy: this request is not in it.")

    def _model(self) -> CallableModel:
        """The model that answered, else the one that was tried last."""
        attempts = self._attempts_that_count()
        return attempts[-1].model if attempts else self.failover.candidates[0]

    def _attempts_that_count(self) -> list[Attempt]:
        """The attempts that sent a request; if none did, the candidates that were passed over."""
        return [attempt for attempt in self.failover.attempts if attempt.outcome != "passed over"] or self.failover.attempts

    def _outcome_of(self, error: BaseException) -> str:
        if isinstance(error, _LEAVING):
            return LEFT
        if any(attempt.outcome == "answered" for attempt in self.failover.attempts):
            return CUT
        refusals = [attempt.provider_error for attempt in self._attempts_that_count() if attempt.provider_error is not None]
        if refusals:
            return refusals[-1].label
        return error.id if isinstance(error, PorticoError) else type(error).__name__

    def _passed_ms(self) -> int | None:
        return None if self._began is None else round((self._clock.monotonic() - self._began) * 1000)
