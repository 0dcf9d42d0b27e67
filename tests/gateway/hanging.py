"""Gateways that hang at a chosen place: real processes of the real command, in which one function waits for ever."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from typing import Final

# What a hang can be. `c_call` is a system call that no signal interrupts and that other threads run beside; `holds_gil` lets no
# other Python code run at all; `thread` is a call on another thread that the event loop waits for.
_HEAD: Final = """
import asyncio, ctypes, os, sys, threading
from portico.gateway import shutdown
shutdown.LONGEST_S, shutdown._CHECK_LOCK_EVERY_S = 0.4, 0.2
def c_call(*_, **__):
    print("hangs", flush=True)
    mutex = ctypes.create_string_buffer(256)
    for _ in range(2):
        library.pthread_mutex_lock(mutex)
def thread(*_, **__):
    print("hangs", flush=True)
    threading.Event().wait()
library = ctypes.CDLL(None)
"""
PLACES: Final = {
    "a call of the main thread before the event loop runs": """
from portico.cli import gateway_keys
gateway_keys.make_first_key = c_call
""",
    "a call of another thread while its code is imported": """
from portico.cli import gateway as gateway_work
gateway_work.import_all = thread
""",
    "a call on the event loop while the store is opened": """
from portico.cli import gateway as gateway_work
gateway_work.unattended_store = c_call
""",
    "a call on the event loop while it serves": """
from portico.cli import gateway as gateway_work
async def refresh_for_good(*_):
    await asyncio.sleep(0.3)
    c_call()
gateway_work.refresh_for_good = refresh_for_good
""",
    "a thread of the executor, for which the interpreter waits at its end": """
from portico.cli import gateway as gateway_work
async def refresh_for_good(*_):
    await asyncio.sleep(0.3)
    await asyncio.to_thread(thread)
gateway_work.refresh_for_good = refresh_for_good
""",
    "a thread that is no daemon, for which the interpreter waits at its end": """
from portico.cli import gateway as gateway_work
async def refresh_for_good(*_):
    await asyncio.sleep(0.3)
    threading.Thread(target=thread).start()
    await asyncio.sleep(60)
gateway_work.refresh_for_good = refresh_for_good
""",
}
BEFORE_IT_SERVES: Final = list(PLACES)[:3]
HOLDS_THE_INTERPRETER: Final = PLACES[BEFORE_IT_SERVES[0]] + "library = ctypes.PyDLL(None)\n"
KEEP_FRESH: Final = """
from portico.store.profiles import ProfileIndex
ProfileIndex.profiles = c_call
"""


@contextlib.contextmanager
def hanging(place: str, *words: str):
    """`portico WORDS` once it hangs at `place`, code from above; killed at the end if it is still there."""
    code = f"{_HEAD}{place}\nfrom portico.cli.main import main\nsys.exit(main({list(words)!r}, 'portico'))\n"
    with subprocess.Popen(
        [sys.executable, "-P", "-c", code], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=dict(os.environ), text=True
    ) as process:
        try:
            assert process.stdout.readline() == "hangs\n"
            time.sleep(0.05)  # from the word into the call
            yield process
        finally:
            process.kill()
