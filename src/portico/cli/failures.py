"""How a failure is shown: one block on stderr, or one JSON object on stdout."""

from __future__ import annotations

import errno
import sys
from typing import Final

from portico.errors import ExitCode, PorticoError, internal_error
from portico.util.signals import EndedBySignal

OUTPUT_FAILED: Final = "output-failed"
_NO_OUTPUT: Final = (errno.ENOSPC, errno.EDQUOT, errno.EBADF, errno.EIO)


# Messages that the provider page quotes: they open their line, so that a search for them finds it.
_QUOTED = frozenset({"unknown-model"})
# Those whose hint is the help of the command itself, and what needs no explanation.
_PLAIN = frozenset({"usage", "no-command", "unknown-command", "unknown-option", "interrupted", OUTPUT_FAILED})


class Interrupted(PorticoError):
    """The user pressed Ctrl-C."""

    exit_code = ExitCode.INTERRUPTED


class HungUp(PorticoError):
    """The terminal was closed: SIGHUP."""

    exit_code = ExitCode.HUNG_UP


class Terminated(PorticoError):
    """The process was asked to end: SIGTERM."""

    exit_code = ExitCode.TERMINATED


def explain(exc: BaseException) -> PorticoError:
    """`exc` as a failure to show. What no one expected is a bug: its traceback is printed, redacted."""
    if isinstance(exc, PorticoError):
        return exc
    if isinstance(exc, EndedBySignal):
        kind = HungUp if exc.name == "SIGHUP" else Terminated
        return kind("interrupted", f"Ended by {exc.name}.")
    if isinstance(exc, KeyboardInterrupt):
        return Interrupted("interrupted", "Interrupted.")
    if isinstance(exc, OSError) and exc.filename is None and exc.errno in _NO_OUTPUT:
        return PorticoError(OUTPUT_FAILED, "The output could not be written.", why=exc.strerror)
    _print_traceback(exc)
    return internal_error(exc)


def show(failure: PorticoError, *, json_output: bool, program: str) -> None:
    """Print `failure` where it is looked for.

    Raises:
        OSError: that place cannot be written to.
    """
    if json_output and failure.id != OUTPUT_FAILED:
        import json

        print(json.dumps({"error": {**failure.as_json(program), **_docs(failure)}}), flush=True)  # noqa: T201 - the Output may be what failed
    else:
        from portico.terminal.output import fitted

        print(fitted(render(failure, program), sys.stderr), file=sys.stderr, flush=True)  # noqa: T201 - the Output may be what failed


def render(exc: PorticoError, program: str) -> str:
    """The block that a person reads: what, why, and what to do next."""
    place = f"{exc.where}: " if exc.where else ""
    speaker = "" if exc.id in _QUOTED else f"{program}: "
    lines = [f"{speaker}{place}{exc.message}"]
    if exc.why:
        lines.append(f"  {exc.why}")
    hint = exc.hint_for(program)
    if hint:
        lines.append(f"  {hint}")
    if exc.id not in _PLAIN and _has_page(exc):
        lines.append(f"  More: `{program} explain {exc.id}`")
    return "\n".join(lines)


def _docs(failure: PorticoError) -> dict[str, str]:
    return {"docs": f"docs/errors/{failure.id}.md"} if _has_page(failure) else {}


def _has_page(failure: PorticoError) -> bool:
    from portico.cli.explain import page_of

    return page_of(failure.id) is not None


def _print_traceback(exc: BaseException) -> None:
    import traceback

    from portico.secret import redact
    from portico.terminal.output import visible

    text = "".join(traceback.format_exception(exc))
    print(visible(redact(text), sys.stderr), file=sys.stderr, end="", flush=True)  # noqa: T201 - the Output may be what failed
