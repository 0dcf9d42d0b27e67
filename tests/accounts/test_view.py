"""The output of a running sign-in, as text and as JSON."""

from __future__ import annotations

import io
import json

import pytest

from portico.accounts.view import SignInView, tunnel_command
from portico.interfaces.authorization import DeviceAuthorization
from portico.oauth import flow
from portico.secret import Secret
from portico.terminal.output import Output
from portico.testing.canary import canary

URL = "https://account.minimax.io/authorize?client_id=x&redirect_uri=http%3A%2F%2F127.0.0.1%3A4711%2Fcb"
REDIRECT = "http://127.0.0.1:4711/cb"
SSH = {"SSH_CONNECTION": "10.0.0.1 50000 10.0.0.2 22", "USER": "ada"}


def shown(*happened, json_output=False, env=None, show_qr=False, verbose=False, hint="", quiet=False):
    out = Output(json=json_output, verbose=verbose, quiet=quiet, stdout=io.StringIO(), stderr=io.StringIO())
    view = SignInView(out, env or {}, "openclaw", show_qr=show_qr, hint=hint)
    for event in happened:
        view(event)
    return out.stdout.getvalue(), out.stderr.getvalue()


def device():
    return DeviceAuthorization(
        user_code="ABCD-EFGH",
        verification_uri="https://account.minimax.io/device",
        expires_at=1,
        interval=5,
        device_code=Secret(canary("device")),
    )


def test_an_opened_browser_still_gets_its_address_on_stderr_and_nothing_on_stdout():
    stdout, stderr = shown(flow.AuthorizeUrl(URL, opened=True, redirect_uri=REDIRECT))

    assert stdout == ""
    assert URL in stderr
    assert "was opened" in stderr


QR_CHARACTERS = ("█", "▀")


def test_on_a_tall_terminal_the_qr_code_comes_first_and_the_code_last(monkeypatch):
    pytest.importorskip("segno", reason="segno draws the QR code")
    monkeypatch.setenv("LINES", "60")

    _, stderr = shown(flow.DeviceCode(device(), opened=False), show_qr=True, hint="Another's client id.")

    drawn = max(stderr.rfind(character) for character in QR_CHARACTERS)
    output = [stderr.index(words) for words in ("Another's client id.", "https://account.minimax.io/device", "ABCD-EFGH")]
    assert 0 <= drawn < output[0]
    assert output == sorted(output)
    assert stderr.rstrip().endswith("ABCD-EFGH")


def test_on_a_terminal_of_24_lines_there_is_no_qr_code(monkeypatch):
    monkeypatch.setenv("LINES", "24")

    _, stderr = shown(flow.DeviceCode(device(), opened=False), show_qr=True)

    assert "ABCD-EFGH" in stderr
    assert not any(character in stderr for character in QR_CHARACTERS)
    assert len(stderr.splitlines()) < 24


@pytest.mark.parametrize(
    ("event", "needed"),
    [
        (flow.AuthorizeUrl(URL, opened=False, redirect_uri=REDIRECT), URL),
        (flow.AuthorizeUrl(URL, opened=True, redirect_uri=REDIRECT), URL),
        (flow.DeviceCode(device(), opened=False), "ABCD-EFGH"),
    ],
)
def test_the_address_and_the_code_are_shown_also_when_quiet(event, needed):
    _, stderr = shown(event, quiet=True, hint="Another's client id.")

    assert needed in stderr
    assert "Another's" not in stderr


def test_the_second_address_starts_with_or():
    both = (flow.AuthorizeUrl(URL, opened=False, redirect_uri=REDIRECT), flow.DeviceCode(device(), opened=False))

    for happened in (both, both[::-1]):
        _, stderr = shown(*happened)
        assert stderr.count("Or: ") == 1
        assert stderr.index("Or: ") > min(stderr.index(URL), stderr.index("ABCD-EFGH"))


@pytest.mark.requirement("E23")
def test_over_ssh_the_exact_tunnel_command_is_shown():
    _, stderr = shown(flow.AuthorizeUrl(URL, opened=False, redirect_uri=REDIRECT), env=SSH)

    assert "ssh -N -L 4711:127.0.0.1:4711 ada@10.0.0.2" in stderr
    assert tunnel_command(REDIRECT, {}) is None
    assert tunnel_command("", SSH) is None


def test_with_json_each_event_is_one_line_on_stdout_without_secrets():
    stdout, stderr = shown(
        flow.DeviceCode(device(), opened=False),
        flow.PollSlowed(10.0),
        flow.RedirectCaught(),
        flow.Finished("device"),
        json_output=True,
    )

    lines = [json.loads(line) for line in stdout.splitlines()]
    assert [line["event"] for line in lines] == ["device-code", "poll-slowed", "redirect-caught", "finished"]
    assert lines[0] == {
        "event": "device-code",
        "userCode": "ABCD-EFGH",
        "verificationUri": "https://account.minimax.io/device",
        "expiresAt": 1,
        "interval": 5,
        "opened": False,
    }
    assert stderr == ""
    assert "CANARY" not in stdout


def test_the_methods_hint_appears_once_with_the_first_event():
    happened = (flow.DeviceCode(device(), opened=False), flow.PollSlowed(10.0), flow.Finished("device"))

    said, _ = shown(*happened, json_output=True, hint="Another's client id.")
    _, stderr = shown(*happened, hint="Another's client id.")

    assert [json.loads(line).get("hint") for line in said.splitlines()] == ["Another's client id.", None, None]
    assert stderr.count("Another's client id.") == 1
    assert stderr.index("Another's") < stderr.index("ABCD-EFGH")


def test_every_event_has_text_and_json():
    happened = [
        flow.AuthorizeUrl(URL, opened=False, redirect_uri=REDIRECT, not_opened="no display"),
        flow.DeviceCode(device(), opened=True),
        flow.BrowserNotOpened("it failed"),
        flow.StrayRequest("wrong state"),
        flow.RedirectCaught(),
        flow.Exchanging(),
        flow.PollSlowed(10.0),
        flow.PollRetry("no answer"),
        flow.DeviceUnavailable("not served"),
        flow.Finished("browser"),
    ]

    stdout, _ = shown(*happened, json_output=True)
    _, stderr = shown(*happened, verbose=True)

    assert len(stdout.splitlines()) == len(happened)
    for output in ("no display", "it failed", "wrong state", "10 s", "no answer", "not served"):
        assert output in stderr


@pytest.mark.requirement("E119")
def test_another_users_first_request_is_a_warning_and_other_stray_requests_are_details():
    _, quiet = shown(flow.StrayRequest("path"), quiet=True)
    _, warned = shown(*[flow.StrayRequest("other-user")] * 3, quiet=True)

    assert quiet == ""
    assert warned.count("another user of this computer") == 1


def test_if_the_browser_has_not_loaded_the_page_the_note_points_to_the_address():
    stdout, stderr = shown(flow.AuthorizeUrl(URL, opened=True, redirect_uri=REDIRECT), flow.BrowserNotSeen())
    assert stdout == ""
    assert "open the address above" in stderr.partition(URL)[2]

    stdout, _ = shown(flow.BrowserNotSeen(), json_output=True)
    assert json.loads(stdout) == {"event": "browser-not-seen"}
