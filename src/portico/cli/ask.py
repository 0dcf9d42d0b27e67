"""`ask`: send one question to a model, stream the answer to stdout, and record the request in the usage history."""

from __future__ import annotations

import base64
from asyncio import CancelledError
from typing import TYPE_CHECKING, Final

from portico.cli.dispatch import finish_pending_sign_ins
from portico.cli.parser import MODEL_HELP
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
_LARGEST_IMAGE = 20 << 20  # bytes; no provider takes a larger image
_CLIENT: Final = "ask"  # the name of this client in the history
_LEAVING: Final = (KeyboardInterrupt, CancelledError, BrokenPipeError)
_MAX_TOKENS: Final = "limit of the answer, in tokens (default: 8192; 32768 with thinking)"
_EFFORT: Final = "how much a reasoning model thinks; not every model has every level (default: the model decides)"
_EXAMPLES = """examples:
  {prog} ask "Why is the sky blue?"
  {prog} ask --model minimax-portal/MiniMax-M2.1-lightning "Say it in one sentence."
  git diff | {prog} ask - --model opus          read the question from a pipe; name the model by an alias
  {prog} ask --json --no-fallback "Hello"       print the model, its answer, the tokens used and the cost

If the default model cannot answer (no credential, a used-up plan, a failing server), {prog} asks the configured fallbacks in
their order; stderr names the model that answered. Other models have no fallbacks.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `ask`."""
    parser.epilog = _EXAMPLES
    parser.add_argument("--model", metavar="REF", help=MODEL_HELP)
    parser.add_argument("--profile", metavar="PROFILE", help="use only this account; `auth list` shows the names of the accounts")
    parser.add_argument("--no-fallback", action="store_true", help="ask one model with one account or key, and try no other")
    parser.add_argument("--max-tokens", type=int, metavar="N", help=_MAX_TOKENS)
    parser.add_argument("--effort", choices=EFFORTS, help=_EFFORT)
    parser.add_argument("--thinking", choices=("on", "off"), help="switch thinking on or off (default: the model decides)")
    parser.add_argument("--image", action="append", default=[], metavar="FILE", help="add a picture to the question; repeatable")
    parser.add_argument("text", nargs="?", metavar="TEXT", help="the question; with - or a pipe, it is read from standard input")
    parser.set_defaults(handler=ask)


def ask(args: argparse.Namespace, app: App) -> int:
    """Ask the question and stream the answer."""
    question = _read_question(args, app.stdin)
    finish_pending_sign_ins(app)
    resolution = _resolve_models(args, app)
    _show_skipped(resolution, app)
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
        from portico.cli.auth import pick_profile

        return Resolution((loader.load(args.model, profile=pick_profile(args.profile, app)),))
    if args.no_fallback:
        return Resolution((loader.load(args.model),))
    resolution = loader.resolve(args.model)
    first = resolution.model
    if first.profile_id is not None and (choice := loader.describe_choice(first.profile_id)) is not None:
        app.out.note(choice)
    return resolution


def _show_skipped(resolution: Resolution, app: App) -> None:
    for passed in resolution.passed:
        app.out.note(f"{passed.reference} is skipped: {passed.error.why or passed.error.message}")
    model = resolution.model
    if (text := retirement_notice(model.spec)) is not None:
        app.out.note(text)
    app.out.detail(f"{model.reference} at {model.base_url}, credential from {model.source}")


def _read_question(args: argparse.Namespace, stdin: TextIO) -> Question:
    if args.max_tokens is not None and args.max_tokens < 1:
        raise UsageError("--max-tokens takes a whole number of 1 or more.")
    if args.thinking == "off" and args.effort is not None:
        raise UsageError("Choose either --thinking off or --effort, not both.")
    piped = args.text is None and not stdin.isatty()
    text = read_text(stdin) if args.text == "-" or piped else args.text or ""
    if not text.strip():
        raise UsageError("The question is empty.", hint='{prog} ask "Hello", or pipe the question to: {prog} ask -')
    return Question(text, 0, tuple(map(_read_image, args.image)), args.effort, args.thinking)


def _read_image(path: str) -> Image:
    import mimetypes  # reads the system's lists when it is imported

    kind = mimetypes.guess_type(path)[0] or ""
    if not kind.startswith("image/"):
        raise UsageError(f"{path} does not have the name of a picture.", hint="Use a PNG, JPEG, GIF or WebP file.")
    try:
        data = read_file(path, _LARGEST_IMAGE)
    except OSError as error:
        raise UsageError(f"Could not read {path}.", why=error.strerror) from None
    return Image(kind, base64.b64encode(data).decode())


async def _stream(record: RequestRecord, question: Question, max_tokens: int | None, app: App) -> None:
    pieces = []

    def show_failed_attempt(attempt: Attempt) -> None:
        app.out.note(f"{attempt.model.reference} ({attempt.model.source}) did not answer: {attempt.why}")

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
        {"model": str(each.model.reference), "source": each.model.source, "outcome": each.outcome}
        | ({"why": each.why} if each.why else {})
        for each in failover.attempts
    ]
    usage_fields = {"input": usage.input, "output": usage.output, "cacheRead": usage.cache_read, "cacheWrite": usage.cache_write}
    if usage.cache_write_1h:
        usage_fields["cacheWrite1h"] = usage.cache_write_1h
    fields = {"model": str(model.reference), "source": model.source, "answer": text, "usage": usage_fields, "cost": cost}
    app.out.json({**fields, "attempts": attempts})


class RequestRecord:
    """The entry of one request in the usage history. `failover` has the attempts, `usage` the tokens used so far."""

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
        """Start the clock, right before the question is sent."""
        self._at_ms, self._began = self._clock.wall_ms(), self._clock.monotonic()

    def add(self, piece: Piece) -> None:
        """Count a piece of the answer."""
        if self._first_byte_ms is None:
            self._first_byte_ms = self._elapsed_ms()
        if piece.usage is not None:
            self.usage = self.usage.updated(piece.usage)

    def finish(self) -> None:
        """Record that the answer is complete."""
        self._latency_ms = self._elapsed_ms()

    def fail(self, error: BaseException) -> None:
        """Record that the request ended without a complete answer."""
        self._latency_ms = self._elapsed_ms()
        self._outcome = self._outcome_of(error)
        if isinstance(error, UsageError) and not self.failover.attempts:
            self._began = None  # the question was invalid and was not sent

    def save(self, app: App) -> None:
        """Write the entry into the history, unless the config turns the history off. Takes two seconds at most."""
        history = app.history() if self._began is not None else None
        if history is None:
            return
        sent = sum(attempt.outcome != "passed over" for attempt in self.failover.attempts)
        history.record(
            entry_of(
                self._model(),
                self.usage,
                at_ms=self._at_ms,
                client=_CLIENT,
                outcome=self._outcome,
                attempts=max(1, sent),
                first_byte_ms=self._first_byte_ms,
                latency_ms=self._latency_ms,
            )
        )
        if not history.close() and not history.dropped:
            app.out.detail("The usage history was busy: this request is not in it.")

    def _model(self) -> CallableModel:
        """Return the model that answered, or the last model that was asked."""
        attempts = self._relevant_attempts()
        return attempts[-1].model if attempts else self.failover.candidates[0]

    def _relevant_attempts(self) -> list[Attempt]:
        """Return the attempts that sent a request; if no attempt did, the skipped candidates."""
        return [attempt for attempt in self.failover.attempts if attempt.outcome != "passed over"] or self.failover.attempts

    def _outcome_of(self, error: BaseException) -> str:
        if isinstance(error, _LEAVING):
            return LEFT
        if any(attempt.outcome == "answered" for attempt in self.failover.attempts):
            return CUT
        errors = [attempt.provider_error for attempt in self._relevant_attempts() if attempt.provider_error is not None]
        if errors:
            return errors[-1].label
        return error.id if isinstance(error, PorticoError) else type(error).__name__

    def _elapsed_ms(self) -> int | None:
        return None if self._began is None else round((self._clock.monotonic() - self._began) * 1000)
