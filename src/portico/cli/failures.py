"""How a failure is shown: one block on stderr, or one JSON object on stdout."""

from __future__ import annotations

import sys

from portico.errors import ExitCode, PorticoError


# Messages that the provider page quotes: they open their line, so that a search for them finds it.
_QUOTED = frozenset({"unknown-model"})


def report(exc: Exception, *, json_output: bool, program: str) -> int:
    """Show `exc` and return its exit code. What is not a `PorticoError` is a bug and keeps its traceback, redacted."""
    if isinstance(exc, OSError) and exc.filename is None and _is_about_output(exc):
        exc = PorticoError("output-failed", "The output could not be written.", why=exc.strerror)
        json_output = False
    if not isinstance(exc, PorticoError):
        _show_traceback(exc)
        exc = PorticoError("internal-error", f"Internal error: {type(exc).__name__}.", hint="This is a bug: please report it.")
    if json_output:
        import json

        print(json.dumps({"error": exc.as_json(program)}), flush=True)  # noqa: T201 - the Output may be what failed
    else:
        print(render(exc, program), file=sys.stderr, flush=True)  # noqa: T201 - the Output may be what failed
    return exc.exit_code


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
    return "\n".join(lines)


def _show_traceback(exc: Exception) -> None:
    import traceback

    from portico.secret import redact

    text = "".join(traceback.format_exception(exc))
    print(redact(text), file=sys.stderr, end="", flush=True)  # noqa: T201 - the Output may be what failed


def _is_about_output(exc: OSError) -> bool:
    import errno

    return exc.errno in {errno.ENOSPC, errno.EDQUOT, errno.EBADF, errno.EIO}


__all__ = ["ExitCode", "render", "report"]
