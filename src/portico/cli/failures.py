"""Show a failure: one block on stderr, or one JSON object on stdout."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from portico.errors import ExitCode, PorticoError, UsageError, internal_error
from portico.util.signals import EndedBySignal

if TYPE_CHECKING:
    from typing import TextIO

    from portico.terminal.output import Streams

_NO_OUTPUT: Final = (errno.ENOSPC, errno.EDQUOT, errno.EBADF, errno.EIO)


class OutputFailed(PorticoError):
    """The command's output could not be written."""

    id = "output-failed"


class Interrupted(PorticoError):
    """The user pressed Ctrl-C."""

    id = "interrupted"
    exit_code = ExitCode.INTERRUPTED


class HungUp(PorticoError):
    """The terminal was closed: SIGHUP."""

    id = "interrupted"
    exit_code = ExitCode.HUNG_UP


class Terminated(PorticoError):
    """The process was asked to end: SIGTERM."""

    id = "interrupted"
    exit_code = ExitCode.TERMINATED


def explain(exc: BaseException, stderr: TextIO) -> PorticoError:
    """Return `exc` as a `PorticoError`. An unexpected exception is a bug: its redacted traceback is printed to `stderr`."""
    if isinstance(exc, PorticoError):
        return exc
    if isinstance(exc, RuntimeError) and isinstance(exc.__cause__, KeyboardInterrupt):
        exc = exc.__cause__  # before Python 3.12: a signal while a class is made ("Error calling __set_name__")
    if isinstance(exc, EndedBySignal):
        kind = HungUp if exc.name == "SIGHUP" else Terminated
        return kind(f"Ended by {exc.name}.")
    if isinstance(exc, KeyboardInterrupt):
        return Interrupted("Interrupted.")
    if isinstance(exc, OSError) and exc.filename is None and exc.errno in _NO_OUTPUT:
        return OutputFailed("Could not write the output.", why=exc.strerror)
    _print_traceback(exc, stderr)
    return internal_error(exc)


def show(failure: PorticoError, streams: Streams, *, json_output: bool, program: str) -> None:
    """Print `failure`: as one JSON object to stdout, or as a block to stderr.

    Raises:
        OSError: writing to the stream failed.
    """
    if json_output and not isinstance(failure, OutputFailed):
        import json

        text = json.dumps({"error": {**failure.as_json(program), **_docs(failure)}})
        print(text, file=streams.stdout, flush=True)
    else:
        from portico.terminal.output import fitted

        print(fitted(render(failure, program), streams.stderr, streams.env), file=streams.stderr, flush=True)


def render(exc: PorticoError, program: str) -> str:
    """Return the text for a person: what happened, why, and what to do next."""
    place = f"{exc.where}: " if exc.where else ""
    prefix = "" if exc.is_quoted else f"{program}: "
    lines = [f"{prefix}{place}{exc.message}"]
    if exc.why:
        lines.append(f"  {exc.why}")
    hint = exc.hint_for(program)
    if hint:
        lines.append(f"  {hint}")
    if not _is_plain(exc) and _has_page(exc):
        lines.append(f"  More: `{program} explain {exc.id}`")
    return "\n".join(lines)


def _is_plain(exc: PorticoError) -> bool:
    """Whether the error needs no page: a usage error's hint names the command's help."""
    return type(exc) is UsageError or isinstance(exc, (OutputFailed, Interrupted, HungUp, Terminated))


def _docs(failure: PorticoError) -> dict[str, object]:
    from portico.cli.explain import OLD_IDS, page_of

    page = page_of(failure.id)
    docs: dict[str, object] = {"docs": f"docs/errors/{page.name}"} if page is not None else {}
    return docs | ({"oldIds": list(OLD_IDS[failure.id])} if failure.id in OLD_IDS else {})


def _has_page(failure: PorticoError) -> bool:
    from portico.cli.explain import page_of

    return page_of(failure.id) is not None


def _print_traceback(exc: BaseException, stderr: TextIO) -> None:
    import traceback

    from portico.secret import redact
    from portico.terminal.output import visible

    text = "".join(traceback.format_exception(exc))
    print(visible(redact(text), stderr), file=stderr, end="", flush=True)
