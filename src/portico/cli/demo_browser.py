"""A window of the user's own browser for the demo: a throwaway profile that reaches the emulator and nothing else."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from portico.util.children import find_program

if TYPE_CHECKING:
    from collections.abc import Mapping

# Of one family, because only Chromium's command line can be told of a proxy and of one CA to trust, without touching the system.
_NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "microsoft-edge", "brave-browser")
_MAC_APPS: Final = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
)
_QUIET: Final = (
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-quic",
)
PID_FILE: Final = "browser.pid"


def window(env: Mapping[str, str], folder: Path, *, proxy_url: str, ca_file: Path) -> str | None:
    """The `$BROWSER` that opens such a window and notes its process in `folder`; None without a screen or a Chromium."""
    program = _program(env)
    if program is None:
        return None
    words = [
        program,
        *_QUIET,
        f"--user-data-dir={folder / 'browser'}",
        f"--proxy-server={proxy_url}",
        f"--ignore-certificate-errors-spki-list={_fingerprint(ca_file)}",
    ]
    script = folder / "browser.sh"
    note = shlex.quote(str(folder / PID_FILE))
    script.write_text(f'#!/bin/sh\necho $$ > {note}\nexec {shlex.join(words)} "$1"\n', encoding="utf-8")
    script.chmod(0o700)
    return shlex.quote(str(script))


def _program(env: Mapping[str, str]) -> str | None:
    if os.name != "posix" or os.geteuid() == 0 or env.get("SSH_CONNECTION"):
        return None  # as root Chromium runs only without its sandbox
    if sys.platform == "darwin":
        return next((app for app in _MAC_APPS if Path(app).exists()), None)
    if not (env.get("DISPLAY") or env.get("WAYLAND_DISPLAY")):
        return None
    return next(filter(None, (find_program(name, env) for name in _NAMES)), None)


def _fingerprint(ca_file: Path) -> str:
    """The base64 SHA-256 of the CA's public key, as Chromium's command line wants it."""
    import base64
    import hashlib

    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    from cryptography.x509 import load_pem_x509_certificate

    from portico.util.files import read_file

    key = load_pem_x509_certificate(read_file(ca_file, 1 << 20)).public_key()
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(spki).digest()).decode()
