"""The gateway's log, written by a process of its own."""

from __future__ import annotations

import os
import stat
import subprocess
import sys

from portico.gateway.metrics import LIMIT, open_log
from portico.testing.canary import canary, in_text

WRITER = """
import asyncio, logging, sys, warnings
from pathlib import Path
from portico.gateway.metrics import log_to_stderr
log_to_stderr(Path(sys.argv[1]), verbose=False)
exec(sys.stdin.read())
"""


def write(paths, program, stderr=None):
    log = open_log(paths.gateway_log) if stderr is None else stderr
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", WRITER, str(paths.gateway_log)]
    subprocess.run(command, input=program, text=True, stderr=log, env=environment, check=True)
    if stderr is None:
        os.close(log)
    return paths.gateway_log


def test_what_any_library_logs_is_redacted(paths):
    secret = canary("at")
    log_text = write(
        paths,
        f"""
logging.getLogger("aiohttp.server").error("bad header: Authorization: Bearer {secret}")
logging.getLogger("asyncio").warning("access_token={secret}")
logging.getLogger("somebody.else").info("chatter")
warnings.warn("refresh_token={secret}")
""",
    ).read_text()
    assert log_text.count("[redacted]") >= 3
    assert in_text(log_text) == []
    assert "chatter" not in log_text


def test_it_is_kept_short_while_the_process_runs(paths):
    log = write(paths, f"for _ in range(35): logging.getLogger('portico').info('x' * {LIMIT // 10})")
    old = log.with_name("gateway.log.old")
    for each in (log, old):
        assert 0 < each.stat().st_size < LIMIT * 1.2
        assert stat.S_IMODE(each.stat().st_mode) == 0o600
    assert not log.read_bytes().startswith(b"\0")


def test_a_file_that_the_user_chose_is_left_alone(paths, tmp_path):
    with (tmp_path / "mine").open("wb") as mine:
        write(paths, f"for _ in range(20): logging.getLogger('portico').info('x' * {LIMIT // 10})", stderr=mine)
    assert (tmp_path / "mine").stat().st_size > LIMIT * 1.9
