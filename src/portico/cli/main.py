"""The entry point: quick answers first, then one command, and the one place where failures become exit codes."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # `typing` would be a third of what `--version` costs
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import NoReturn, TextIO

    from portico.terminal.output import Streams

_PIPE_CLOSED = 141  # 128 + SIGPIPE: what a shell reports for any tool whose reader went away


def main(
    argv: Sequence[str] | None = None,
    program: str | None = None,
    *,
    env: Mapping[str, str] | None = None,
    stdin: TextIO | None = None,
    stdout: TextIO | None = None,
    stderr: TextIO | None = None,
) -> int:
    """Run one command line.

    Threads may run commands side by side, each with streams of its own; signals end the command of the main thread.

    Args:
        argv: the words after the program's name; None takes the process's own.
        program: the name for usage and hints; None takes the one this process was called by.
        env: the environment; None takes the process's. Where it does not name the home folder, that is the process's too.
        stdin: what is read; None takes `sys.stdin`.
        stdout: where results go; None takes `sys.stdout`.
        stderr: where remarks, prompts and errors go; None takes `sys.stderr`.

    Returns:
        The exit code, one of `portico.errors.ExitCode`.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    name = program or program_name(sys.argv[0])
    _make_streams_safe()
    out = sys.stdout if stdout is None else stdout
    try:
        if words in (["--version"], ["-V"]):
            from portico.version import __version__

            print(f"{name} {__version__}", file=out)
            code = 0
        else:
            code = _run(words, name, _streams(env, stdin, stdout, stderr))
        out.flush()
    except BrokenPipeError:
        _forget(out)
        return _PIPE_CLOSED
    except (Exception, KeyboardInterrupt) as exc:  # noqa: BLE001 - the one catch point: everything becomes an exit code here
        code = _fail(exc, words, name, _streams(env, stdin, stdout, stderr))
        _drop_what_cannot_be_written(out)
    return code


def _streams(env: Mapping[str, str] | None, stdin: TextIO | None, stdout: TextIO | None, stderr: TextIO | None) -> Streams:
    from portico.terminal.output import Streams  # `--version` does without it

    return Streams(env, stdin, stdout, stderr)


def run() -> NoReturn:
    """The program: `main` for the words of this process, whose exit code is the process's."""
    import atexit

    codes: list[int] = []
    atexit.register(_end_at_once, codes)  # first, so that it is called last
    codes.append(main())
    sys.exit(codes[0])


def _end_at_once(codes: list[int]) -> None:
    """If a thread is still at work that nobody waits for, end the process without taking the interpreter apart around it.

    Before Python 3.14 such a thread is unwound where it stands once it asks for the interpreter, and the process aborts if that
    is in native code that cannot be unwound (https://github.com/python/cpython/issues/87135).
    """
    threading, off_loop = sys.modules.get("threading"), sys.modules.get("portico.util.threads")
    idle = off_loop.idle_threads() if off_loop is not None else ()
    if not codes or threading is None or not any(thread.daemon and thread not in idle for thread in threading.enumerate()):
        return
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            continue
    os._exit(codes[0])


def program_name(argv0: str) -> str:
    """What usage and hints call this program: the name it was started by, `portico` for `python -m portico`."""
    name = argv0.replace("\\", "/").rpartition("/")[2]
    for suffix in (".exe", ".py", "-script.py"):
        name = name.removesuffix(suffix)
    return "portico" if name in {"", "-c", "-m", "__main__"} else name


def _run(words: list[str], program: str, streams: Streams) -> int:
    try:
        return _answer(words, program, streams)
    except SystemExit as exc:
        if isinstance(exc.code, str):
            print(exc.code, file=streams.stderr)  # as Python does for such an exit
        return exc.code if isinstance(exc.code, int) else int(exc.code is not None)


def _answer(words: list[str], program: str, streams: Streams) -> int:
    if words in (["--help"], ["-h"], ["help"]):
        from portico.cli.commands import top_level_help
        from portico.terminal.output import fitted_help

        print(fitted_help(top_level_help(program), streams.stdout, streams.env), file=streams.stdout)
        return 0
    from portico.cli.dispatch import dispatch
    from portico.util.signals import handle_signals

    with handle_signals():
        return dispatch(words, program, streams)


def _fail(exc: BaseException, words: list[str], program: str, streams: Streams) -> int:
    from portico.cli.failures import explain, show

    failure = explain(exc, streams.stderr)
    try:
        show(failure, streams, json_output=_wants_json(words), program=program)
    except OSError:
        _forget(streams.stdout)
    return failure.exit_code


def _wants_json(words: Sequence[str]) -> bool:
    # Asked of the bare words, since the line may be one that cannot be parsed.
    options = words[: words.index("--")] if "--" in words else words
    return "--json" in options


def _make_streams_safe() -> None:
    # A closed stream would give its descriptor to the next file or socket that is opened, and whatever prints would write there.
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123 - it lives as long as the process
    # A console that lacks a character gets its escape, not a crash (cp1252, ASCII).
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _drop_what_cannot_be_written(stdout: TextIO) -> None:
    # What is still in the buffer would fail once more when the interpreter ends, with an exit code of the interpreter's own.
    try:
        stdout.flush()
    except OSError:
        _forget(stdout)


def _forget(stdout: TextIO) -> None:
    # The interpreter flushes its own stdout once more at exit and would complain about the same pipe.
    if stdout is sys.stdout:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stdout.fileno())
