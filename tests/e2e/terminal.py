"""A terminal with a program in it: what it shows can be waited for, and keys can be pressed."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from importlib.util import find_spec
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

# Menus are drawn where questionary is installed; numbered lines take their place where it is not.
_MENUS = find_spec("questionary") is not None
ENTER, CTRL_C, END_OF_INPUT = "\r", "\x03", "\x04"
SECOND = "\x1b[B\r" if _MENUS else "2\r"
YES, NO = ("y", "n") if _MENUS else ("y\r", "n\r")
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[()][A-Z0-9]|\x1b[=>]")
_SIZES = {"COLUMNS", "LINES"}  # of the terminal that the tests run in
_CURSOR_QUESTION = "\x1b[6n"


def as_text(raw: str) -> str:
    """What is shown, without escape sequences."""
    return _ESCAPES.sub("", raw).replace("\r", "")


class Terminal:
    """Runs `argv` on a pseudo-terminal of its own, as its controlling terminal."""

    def __init__(self, argv: list[str], env: Mapping[str, str], *, term: str = "xterm", columns: int = 120) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))

        def own_terminal() -> None:
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(
            argv,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={name: value for name, value in env.items() if name not in _SIZES} | {"TERM": term},
            preexec_fn=own_terminal,  # noqa: PLW1509 - no other threads run in these tests, and only two system calls are made
        )
        os.close(slave)
        self.raw = ""

    @property
    def text(self) -> str:
        """Everything shown so far, without escape sequences."""
        return as_text(self.raw)

    def expect(self, wanted: str, timeout: float = 20.0) -> str:
        """Wait until `wanted` (a regular expression) is on the screen; what it matched."""
        deadline = time.monotonic() + timeout
        while True:
            match = re.search(wanted, self.text)
            if match:
                return match[0]
            if not self._read(deadline - time.monotonic()):
                raise AssertionError(f"{wanted!r} never came; the terminal shows:\n{self.text}")

    def press(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def end(self, timeout: float = 30.0, answers: Mapping[str, str] = MappingProxyType({})) -> int:
        """Wait for the program's end; its exit code. `answers` has the keys for each question, whenever it is asked."""
        deadline, answered = time.monotonic() + timeout, dict.fromkeys(answers, 0)
        while self._read(deadline - time.monotonic()):
            for question, keys in answers.items():
                if len(re.findall(question, self.text)) > answered[question]:
                    answered[question] += 1
                    self.press(keys)
        code = self.process.wait(max(1.0, deadline - time.monotonic()))
        os.close(self._master)
        return code

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def _read(self, timeout: float) -> bool:
        """Take in what is shown next; False at the end of it, or in time."""
        if timeout <= 0 or not select.select([self._master], [], [], timeout)[0]:
            return False
        try:
            chunk = os.read(self._master, 65536).decode(errors="replace")
        except OSError:
            return False
        if _CURSOR_QUESTION in chunk:
            self.press("\x1b[1;1R")
        self.raw += chunk
        return bool(chunk)
