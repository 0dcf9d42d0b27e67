"""The browser flow in a real Chromium: the redirect, the page it ends on, and what is in the address bar by then."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
import time
from pathlib import Path

import pytest

from portico.testing.canary import in_text
from tests.e2e.terminal import ENTER, NO, SECOND
from tests.minimax_session import CN, GLOBAL

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = ("--no-sandbox", "--disable-quic", "--disable-background-networking", "--no-first-run", "--disable-sync")


@pytest.fixture
def browser():
    """A Chromium that goes through the emulator's proxy and trusts its throwaway CA by fingerprint, as `start(ready)`."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
    if CHROMIUM is None:
        pytest.skip("chromium not installed")
    with playwright.sync_playwright() as driver:

        def start(proxy, ca_file):
            trusted = f"--ignore-certificate-errors-spki-list={fingerprint(Path(ca_file))}"
            return driver.chromium.launch(
                executable_path=CHROMIUM, args=[*QUIET, trusted], proxy={"server": proxy, "bypass": "127.0.0.1"}
            )

        yield start


def fingerprint(ca_file):
    """The base64 SHA-256 of the certificate's public key, as Chromium's command line wants it."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    from cryptography.x509 import load_pem_x509_certificate

    key = load_pem_x509_certificate(ca_file.read_bytes()).public_key()
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(spki).digest()).decode()


@pytest.fixture
def handed_over(tmp_path):
    """A $BROWSER that hands the address it gets to the test."""
    note, script = tmp_path / "address", tmp_path / "browser.sh"
    script.write_text(f'#!/bin/sh\nprintf %s "$1" > {note}.new && mv {note}.new {note}\n')
    script.chmod(0o700)

    def address():
        deadline = time.monotonic() + 20
        while not note.exists():
            assert time.monotonic() < deadline, "the browser was never opened"
        return note.read_text()

    return {"BROWSER": str(script)}, address


@pytest.mark.requirement("P2")
@pytest.mark.requirement("E16")
@pytest.mark.requirement("E118")
@pytest.mark.requirement("S5")
@pytest.mark.parametrize(
    ("keys", "profile", "host"),
    [(ENTER, GLOBAL, "minimax.io"), pytest.param(SECOND, CN, "minimaxi.com", marks=pytest.mark.interop)],
)
def test_the_redirect_of_a_real_browser_is_caught_and_the_address_bar_is_left_clean(
    machine, browser, handed_over, keys, profile, host
):
    env, address = handed_over
    with machine.emulator("--redirect") as ready:
        terminal = machine.sit_down("onboard", "--auth-choice", "minimax-portal", "--flow", "browser", **env)
        terminal.expect("Select MiniMax")
        terminal.press(keys)
        terminal.expect("Stay signed in")
        terminal.press(NO)
        url = address()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/start/[\w-]{43}", url)

        chromium = browser(ready["proxyUrl"], ready["env"]["SSL_CERT_FILE"])
        page = chromium.new_page()
        page.goto(url)
        assert page.url.startswith(f"https://account.{host}/")
        assert "extension" in page.content()
        page.get_by_role("button", name="Allow").click()
        page.wait_for_url(re.compile(r"^http://127\.0\.0\.1:\d+/"))
        page.get_by_role("heading", name="You are signed in").wait_for()
        page.wait_for_function("!location.search && !location.hash")
        shown = page.content()
        assert in_text(shown) == []
        chromium.close()

        assert terminal.end() == 0
        assert f"Signed in: {profile}" in terminal.text
        assert machine.records()[0].startswith(f"{profile}#")
        assert machine.type("auth", "logout", "--yes").returncode == 0
        assert machine.records() == []
