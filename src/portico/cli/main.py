"""The entry point: run one command line. Every failure becomes an exit code in `main`."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # importing `typing` would make `--version` a third slower
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import NoReturn, TextIO

    from portico.terminal.output import Streams

_PIPE_CLOSED = 141  # 128 + SIGPIPE, as a shell reports when the reader of a pipe is gone


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

    Threads may run commands at the same time, each with its own streams. Signals end the main thread's command.

    Args:
        argv: the words after the program's name; None for those of the process.
        program: the name in usage lines and hints; None for the name that started the process.
        env: the environment; None for the process's. If it does not name the home folder, the process's home is used.
        stdin: the input; None for `sys.stdin`.
        stdout: the stream for results; None for `sys.stdout`.
        stderr: the stream for notes, prompts and errors; None for `sys.stderr`.

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
    except (Exception, KeyboardInterrupt) as exc:  # noqa: BLE001 - everything becomes an exit code here
        code = _fail(exc, words, name, _streams(env, stdin, stdout, stderr))
        _drop_unwritable_output(out)
    return code


def _streams(env: Mapping[str, str] | None, stdin: TextIO | None, stdout: TextIO | None, stderr: TextIO | None) -> Streams:
    from portico.terminal.output import Streams  # `--version` does without it

    return Streams(env, stdin, stdout, stderr)


def run() -> NoReturn:
    """Run `main` for this process's command line and exit with its code."""
    import atexit

    codes: list[int] = []
    atexit.register(_end_at_once, codes)  # first, so that it is called last
    codes.append(main())
    sys.exit(codes[0])


def _end_at_once(codes: list[int]) -> None:
    """End the process without finalizing the interpreter if a daemon thread is still working.

    Before Python 3.14 finalization unwinds such a thread, and aborts the process if the thread is in native code that cannot be
    unwound (https://github.com/python/cpython/issues/87135).
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
    """Return the program's name for usage lines and hints: the name that started it, `portico` for `python -m portico`."""
    name = argv0.replace("\\", "/").rpartition("/")[2]
    for suffix in (".exe", ".py", "-script.py"):
        name = name.removesuffix(suffix)
    return "portico" if name in {"", "-c", "-m", "__main__"} else name


def _run(words: list[str], program: str, streams: Streams) -> int:
    try:
        return _answer(words, program, streams)
    except SystemExit as exc:
        if isinstance(exc.code, str):
            print(exc.code, file=streams.stderr)  # as Python does
        return exc.code if isinstance(exc.code, int) else int(exc.code is not None)


def _answer(words: list[str], program: str, streams: Streams) -> int:
    if words in (["--help"], ["-h"], ["help"]):
        from portico.cli.dispatch import top_level_help
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
    # This searches the words themselves, because the command line may be invalid.
    options = words[: words.index("--")] if "--" in words else words
    return "--json" in options


def _make_streams_safe() -> None:
    # The next opened file or socket would get the descriptor of a closed stream, and prints would go into it.
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123 - stays open
    # A console that lacks a character (cp1252, ASCII) gets an escape instead of a crash.
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _drop_unwritable_output(stdout: TextIO) -> None:
    # The buffered rest would fail again when the interpreter exits, and change the exit code.
    try:
        stdout.flush()
    except OSError:
        _forget(stdout)


def _forget(stdout: TextIO) -> None:
    # The interpreter flushes its stdout at exit, and would report the same error again.
    if stdout is sys.stdout:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stdout.fileno())
