"""The process of one walk: it notes the file of every function that begins, in each of its threads."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.source_tree import HOST, PLUGINS, ROOT

if TYPE_CHECKING:
    from types import FrameType

_ROOMS: Final = tuple(f"{source}{os.sep}" for source in (HOST, *PLUGINS))
_ROUNDS: Final = 3
_seen: set[str] = set()


def command() -> None:
    """Run the command of the command line, as `portico` does."""
    _watch()
    from portico.cli.main import main

    code = main(sys.argv[1:], program="portico")
    _tell(_seen)
    sys.exit(code)


def request() -> None:
    """Send requests to a gateway, and tell of one that is not its first."""
    _watch()
    asyncio.run(_request())


async def _request() -> None:
    from portico.paths import resolve_paths
    from tests.gateway.fronts import MESSAGES, gateway

    paths = resolve_paths(env=os.environ)
    body = {"model": "minimax-portal/MiniMax-M2.1", "max_tokens": 20, "messages": [{"role": "user", "content": "Hello"}]}
    rounds = []
    async with gateway(paths, env=dict(os.environ)) as here:
        for _ in range(_ROUNDS + 1):
            _seen.clear()
            async with here.ask(MESSAGES, body) as answer:
                assert answer.status == 200, await answer.text()
                await answer.read()
            rounds.append(set(_seen))
    # What only happens now and then beside a request, such as a look at the config, is in some of them.
    _tell(set.intersection(*rounds[1:]))


def _watch() -> None:
    threading.setprofile(_note)
    sys.setprofile(_note)


def _note(frame: FrameType, event: str, _of_c: object) -> None:
    code = frame.f_code
    if event == "call" and code.co_flags & inspect.CO_OPTIMIZED and code.co_filename.startswith(_ROOMS):
        _seen.add(code.co_filename)


def _tell(files: set[str]) -> None:
    sys.setprofile(None)
    found = sorted(Path(file).relative_to(ROOT).as_posix() for file in files)
    Path(os.environ["PORTICO_WALK"]).write_text(json.dumps(found), encoding="utf-8")
