"""Which proxy a request goes through: what the variables mean, and what is said of one that means nothing."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from portico.errors import NetworkError
from portico.net.client import HttpClient
from portico.net.proxy import Proxy, may_hold_password, problems, proxy_for
from portico.secret import Secret
from tests.net.test_client_policy import post

# Every way to a provider, and the thread that opens the file in each.
OPENED_BY = """
import asyncio, os, sys, threading
from portico.errors import NetworkError
from portico.net.client import HttpClient
from portico.net.client import HttpClient

path, threads = os.environ["PORTICO_PROXY_FILE"], []
sys.addaudithook(lambda event, args: event == "open" and str(args[0]) == path and threads.append(threading.current_thread()))

async def main():
    async with HttpClient() as oauth, HttpClient() as http:
        for sent in (oauth.get("https://as.test/metadata"), http.send("https://api.test/", headers={})):
            try:
                await sent
            except NetworkError as error:
                print(error.id, bool(threads), threading.main_thread() in threads)
            threads.clear()

asyncio.run(main())
"""


@pytest.fixture
def no_proxies(monkeypatch):
    """No variable about proxies, in either case."""
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "PORTICO_PROXY_FILE"):
        for written in (name, name.lower()):
            monkeypatch.delenv(written, raising=False)


MALFORMED = {
    "http://[::1": "square brackets do not match",
    "http://::1]:3128": "square brackets do not match",
    "http://[::1]x:3128": "not a host and a port",
    "http://[zz]:3128": "no IPv6 address between its brackets",
    "http://fe80::1": "not a host and a port",
    "http://host:notaport": "port is not a number",
    "http://host:0": "port is not a number",
    "http://a:99999": "port is not a number",
    "http://host:-1": "port is not a number",
    "http://user:p/ss@host:3128": "there is a '/', '?' or '#' before the '@'",
    "http://user:12#ss@host:3128": "there is a '/', '?' or '#' before the '@'",
    "://x": "no http before its '://'",
    "://": "no http before its '://'",
    "http://pro xy:3128": "space in it",
    "http://proxy:3128\nx": "space in it",
    "http://": "names no host",
    "http://:3128": "names no host",
    "socks5://127.0.0.1:1": "kind socks5",
    "socks5://": "kind socks5",
    "https://127.0.0.1:1": "kind https",
    "https://user:pss@proxy": "kind https",
    "http://user:pss@[::1": "square brackets do not match",
    "http://user:pss@host:no": "port is not a number",
    "user:pss://x": "no http before its '://'",
}


@pytest.mark.requirement("E112")
@pytest.mark.parametrize("variable", ["https_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"])
@pytest.mark.parametrize(("value", "why"), MALFORMED.items(), ids=map(repr, MALFORMED))
async def test_a_proxy_that_cannot_be_used_is_said_and_not_gone_around(value, why, variable, monkeypatch, no_proxies):
    monkeypatch.setenv(variable, value)

    with pytest.raises(NetworkError) as error:
        await post("https://as.test/token")

    assert (error.value.id, error.value.unsent) == ("proxy-unusable", True)
    assert variable in error.value.message
    assert why in str(error.value.why)
    assert variable in str(error.value.hint)
    assert not any(secret in f"{error.value.message} {error.value.why} {error.value.hint}" for secret in ("pss", "p/ss", "12#"))
    assert [each.message for each in problems()] == [error.value.message]


@pytest.mark.requirement("E112")
async def test_a_model_api_is_not_reached_around_a_malformed_proxy_either(monkeypatch, no_proxies):
    monkeypatch.setenv("HTTPS_PROXY", "http://[::1")
    async with HttpClient() as http:
        with pytest.raises(NetworkError, match="HTTPS_PROXY") as error:
            await http.post("https://api.minimax.io/v1/messages", body={}, headers={})

    assert error.value.id == "proxy-unusable"


@pytest.mark.requirement("E112")
@pytest.mark.parametrize(
    ("value", "proxy"),
    [
        ("proxy.test", Proxy("http://proxy.test:80")),
        ("http://proxy.test:", Proxy("http://proxy.test:80")),
        (" http://proxy.test:3128/ ", Proxy("http://proxy.test:3128")),
        ("HTTP://[fe80::1]:3128", Proxy("http://[fe80::1]:3128")),
        ("http://user:p@ss:w@rd@host:3128", Proxy("http://host:3128", "user", Secret("p@ss:w@rd"))),
        ("http://us%40er:p%2Fw@host", Proxy("http://host:80", "us@er", Secret("p/w"))),
        ("http://user@host", Proxy("http://host:80", "user")),
    ],
)
def test_a_proxy_is_read_as_people_write_it(value, proxy, monkeypatch, no_proxies):
    monkeypatch.setenv("https_proxy", value)

    proxies = proxy_for("https://as.test/")

    assert proxies == proxy
    assert list(problems()) == []


def test_the_variable_that_counts_is_the_one_that_counts_for_curl(monkeypatch, no_proxies):
    monkeypatch.setenv("ALL_PROXY", "all.test:1")
    assert proxy_for("https://as.test/") == proxy_for("http://as.test/") == Proxy("http://all.test:1")
    monkeypatch.setenv("HTTPS_PROXY", "upper.test:1")
    assert proxy_for("https://as.test/") == Proxy("http://upper.test:1")
    monkeypatch.setenv("https_proxy", "lower.test:1")
    assert proxy_for("https://as.test/") == Proxy("http://lower.test:1")
    monkeypatch.setenv("https_proxy", "")
    assert proxy_for("https://as.test/") is None
    monkeypatch.setenv("HTTP_PROXY", "header.test:1")
    monkeypatch.setenv("REQUEST_METHOD", "GET")
    assert proxy_for("http://as.test/") == Proxy("http://all.test:1")


@pytest.mark.requirement("E113")
def test_a_file_with_proxies_is_read_behind_the_environment_and_only_if_it_is_private(monkeypatch, no_proxies, tmp_path):
    path = tmp_path / "proxy.env"
    path.write_text("# ours\n\nHTTPS_PROXY=http://me:a=b@proxy.test:1\nhttp_proxy=other.test:2\n", encoding="utf-8")
    path.chmod(0o600)
    monkeypatch.setenv("PORTICO_PROXY_FILE", str(path))
    assert proxy_for("https://as.test/") == Proxy("http://proxy.test:1", "me", Secret("a=b"))
    monkeypatch.setenv("HTTP_PROXY", "own.test:3")
    assert proxy_for("http://as.test/") == Proxy("http://own.test:3")

    path.chmod(0o640)
    with pytest.raises(NetworkError, match="PORTICO_PROXY_FILE") as error:
        proxy_for("https://as.test/")
    another = path.stat().st_uid + 1
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: another)
        with pytest.raises(NetworkError, match="PORTICO_PROXY_FILE") as raised:
            proxy_for("https://as.test/")
    path.unlink()
    with pytest.raises(NetworkError, match="PORTICO_PROXY_FILE"):
        proxy_for("https://as.test/")

    assert error.value.id == "proxy-unusable"
    assert "chmod 600" in str(error.value.hint)
    assert "chmod" not in str(raised.value.hint)  # only its owner may
    assert [each.id for each in problems()] == ["proxy-unusable"]


@pytest.fixture
def proxy_file(monkeypatch, no_proxies, tmp_path):
    """A private file that `PORTICO_PROXY_FILE` names."""
    path = tmp_path / "proxy.env"
    path.touch(mode=0o600)
    monkeypatch.setenv("PORTICO_PROXY_FILE", str(path))
    return path


SAYS_NOTHING = {
    b"export HTTPS_PROXY=http://me:hunter2@proxy.test:1\n": "line 1 is not NAME=value",
    b"HTTPS_PROXY=proxy.test:1\nhttp://me:hunter2@proxy.test:1/?a=b\n": "line 2 is not NAME=value",
    b"HTTPS_PROXY: http://me:hunter2@proxy.test:1\n": "line 1 is not NAME=value",
    b"HTTPS_PROXY=proxy.test:1\nNO_PROXY=as.test\n": "line 2 is not NAME=value",
    b"LD_PRELOAD=hunter2\nHTTPS_PROXY=proxy.test:1\n": "line 1 is not NAME=value",
    b"\xef\xbb\xbfHTTPS_PROXY=proxy.test:1\n": "line 1 is not NAME=value",
    b"": "no proxy in it",
    b"# HTTPS_PROXY=http://me:hunter2@proxy.test:1\n\n": "no proxy in it",
    b"HTTPS_PROXY=\nhttp_proxy= \n": "no proxy in it",
    b"HTTP_PROXY=proxy.test:1\n" + b"#" * 70_000 + b"\nHTTPS_PROXY=proxy.test:1\n": "larger than 64 KiB",
}


@pytest.mark.requirement("E113")
@pytest.mark.parametrize(("data", "why"), SAYS_NOTHING.items(), ids=[f"{each[:40]!r}" for each in SAYS_NOTHING])
def test_a_file_that_names_no_proxy_is_an_error_and_not_the_way_around_it(data, why, proxy_file):
    proxy_file.write_bytes(data)

    with pytest.raises(NetworkError, match="PORTICO_PROXY_FILE") as error:
        proxy_for("https://as.test/")

    assert (error.value.id, error.value.unsent) == ("proxy-unusable", True)
    assert why in str(error.value.why)
    assert "hunter2" not in f"{error.value.message} {error.value.why} {error.value.hint}"
    assert [(each.message, each.why) for each in problems()] == [(error.value.message, error.value.why)]


@pytest.mark.requirement("E113")
def test_what_is_no_plain_file_is_an_error_at_once_and_a_fifo_is_not_waited_for(proxy_file):
    if not hasattr(os, "mkfifo"):
        pytest.skip("no FIFOs on this system")
    proxy_file.unlink()
    os.mkfifo(proxy_file, 0o600)
    look = "from portico.net.proxy import problems\nprint(*(each.why for each in problems()))"

    fifo = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=False, timeout=20)
    proxy_file.unlink()
    proxy_file.mkdir(0o700)

    assert fifo.stdout == "it is not a plain file\n"
    assert [each.why for each in problems()] == ["it is not a plain file"]


@pytest.mark.requirement("E113")
def test_a_url_in_the_place_of_the_files_path_is_not_shown(proxy_file, monkeypatch):
    monkeypatch.setenv("PORTICO_PROXY_FILE", "http://me:hunter2@proxy.test:1")

    (error,) = problems()

    assert (error.id, error.why) == ("proxy-unusable", "it is a URL")
    assert "hunter2" not in f"{error.message} {error.hint}"


@pytest.mark.requirement("E113")
@pytest.mark.parametrize(
    "value",
    [
        "me:hunter2@proxy.test:1",
        "http:/me:hunter2@proxy.test:1",
        "HTTPS_PROXY=me:hunter2@proxy.test:1",
        "~me:hunter2@proxy.test:1",
        "me:hunter2",
        "/me:hunter2@proxy.test:1/" + "x" * 300,
    ],
)
def test_an_address_without_its_scheme_in_the_place_of_the_files_path_is_not_shown_either(value, proxy_file, monkeypatch):
    monkeypatch.setenv("PORTICO_PROXY_FILE", value)

    (error,) = problems()

    assert error.id == "proxy-unusable"
    assert "looks like a proxy's address" in str(error.why)
    assert "hunter2" not in f"{error.message} {error.why} {error.hint}"


@pytest.mark.requirement("E113")
@pytest.mark.parametrize("name", ["me@home.env", "proxy:1.env"])
def test_a_file_that_is_there_may_have_the_name_of_an_address(name, proxy_file, monkeypatch):
    proxy_file.write_text("HTTPS_PROXY=proxy.test:1\n")
    proxy_file.rename(proxy_file.with_name(name))
    monkeypatch.chdir(proxy_file.parent)
    monkeypatch.setenv("PORTICO_PROXY_FILE", name)

    assert proxy_for("https://as.test/") == Proxy("http://proxy.test:1")


@pytest.mark.requirement("E113")
def test_the_file_may_stand_in_the_users_home(proxy_file, monkeypatch):
    proxy_file.write_text("HTTPS_PROXY=proxy.test:1\n")
    for home in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(home, str(proxy_file.parent))
    monkeypatch.setenv("PORTICO_PROXY_FILE", f"~/{proxy_file.name}")

    assert proxy_for("https://as.test/") == Proxy("http://proxy.test:1")


@pytest.mark.requirement("E113")
def test_no_event_loop_reads_the_file_itself(proxy_file, unused_tcp_port):
    proxy_file.write_text(f"HTTPS_PROXY=127.0.0.1:{unused_tcp_port}\n")

    result = subprocess.run([sys.executable, "-c", OPENED_BY], capture_output=True, text=True, check=False, timeout=30)

    assert result.stdout.splitlines() == ["network True False"] * 2, result.stderr


NO_PROXY = [
    ("*", "https://as.test/", True),
    ("other.test, *", "https://as.test/", True),
    ("as.test", "https://as.test/", True),
    ("AS.Test", "https://as.test/", True),
    ("as.test.", "https://as.test/", True),
    ("as.test", "https://as.test./", True),
    ("test", "https://as.test/", True),
    ("as.test", "https://deep.as.test/", True),
    ("s.test", "https://as.test/", False),
    ("as.test", "https://notas.test/", False),
    (".as.test", "https://as.test/", True),
    (".as.test", "https://deep.as.test/", True),
    ("*.as.test", "https://deep.as.test/", True),
    ("*.as.test", "https://very.deep.as.test/", True),
    ("*.as.test", "https://as.test/", False),
    ("*.as.test", "https://notas.test/", False),
    ("*as.test", "https://as.test/", False),
    ("a*.test", "https://as.test/", False),
    ("as.test:443", "https://as.test/", True),
    ("as.test:443", "https://deep.as.test/", True),
    ("*.as.test:443", "https://deep.as.test/", True),
    ("as.test:8443", "https://as.test/", False),
    ("as.test:8443", "https://as.test:8443/", True),
    ("as.test:443", "https://as.test:8443/", False),
    ("as.test:80", "http://as.test/", True),
    ("as.test:http", "https://as.test/", False),
    ("192.0.2.7", "https://192.0.2.7/", True),
    ("192.0.2.7:443", "https://192.0.2.7/", True),
    ("192.0.2.7:444", "https://192.0.2.7/", False),
    ("192.0.2.0/24", "https://192.0.2.7/", True),
    ("192.0.2.9/24", "https://192.0.2.7/", True),
    ("10.0.0.0/8", "https://192.0.2.7/", False),
    ("192.0.2.0/24", "https://as.test/", False),
    ("2.7", "https://192.0.2.7/", False),
    ("2001:db8::7", "https://[2001:db8::7]/", True),
    ("[2001:db8::7]", "https://[2001:db8::7]/", True),
    ("[2001:db8::7]:443", "https://[2001:db8::7]/", True),
    ("[2001:db8::7]:444", "https://[2001:db8::7]/", False),
    ("2001:DB8:0::7", "https://[2001:db8::7]/", True),
    ("2001:db8::/32", "https://[2001:db8::7]/", True),
    ("other.test as.test", "https://as.test/", True),
    (" , as.test ,", "https://as.test/", True),
    ("", "https://as.test/", False),
    (",.,*.,[,]:,::/999", "https://as.test/", False),
]


@pytest.mark.requirement("E114")
@pytest.mark.parametrize("variable", ["no_proxy", "NO_PROXY"])
@pytest.mark.parametrize(("entries", "url", "direct"), NO_PROXY)
def test_no_proxy_matches_as_people_mean_it(entries, url, direct, variable, monkeypatch, no_proxies):
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "proxy.test:3128")
    monkeypatch.setenv(variable, entries)

    assert (proxy_for(url) is None) is direct


@pytest.mark.requirement("E114")
async def test_the_gateway_and_a_sign_in_go_by_the_same_rule(monkeypatch, no_proxies):
    monkeypatch.setenv("https_proxy", "proxy.test:3128")
    monkeypatch.setenv("no_proxy", "*.minimax.io:443")
    async with HttpClient() as http:
        assert (await http._route("https://api.minimax.io/v1/messages")).proxy is None
        assert (await http._route("https://api.minimaxi.com/v1/messages")).proxy == Proxy("http://proxy.test:3128")


@pytest.mark.requirement("E150")
def test_an_exception_alone_does_not_hide_the_proxy_of_the_systems_settings(monkeypatch, no_proxies):
    monkeypatch.setattr("urllib.request.getproxies_macosx_sysconf", lambda: {"https": "http://office.test:1"}, raising=False)
    monkeypatch.setattr("urllib.request.proxy_bypass_macosx_sysconf", lambda host: host == "inside.test", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost,::1,direct.test")

    proxies = {host: proxy_for(f"https://{host}/") for host in ("as.test", "inside.test", "direct.test")}

    assert proxies == {"as.test": Proxy("http://office.test:1"), "inside.test": None, "direct.test": None}


@pytest.mark.requirement("E151")
def test_an_all_proxy_that_counts_for_one_scheme_alone_is_examined_too(monkeypatch, no_proxies):
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.test:1")
    monkeypatch.setenv("ALL_PROXY", "socks5://proxy.test:2")

    assert [each.why for each in problems()] == ["ALL_PROXY: it is a proxy of kind socks5; only plain HTTP proxies are supported"]
    monkeypatch.setenv("http_proxy", "")
    assert list(problems()) == []


@pytest.mark.requirement("E113")
@pytest.mark.parametrize(
    ("value", "secret"),
    [
        ("http://proxy.test:1", False),
        ("proxy.test", False),
        ("http://proxy.test:1/", False),
        ("", False),
        ("http://me@proxy.test:1", True),
        ("http://proxy.test:1/?token=hunter2", True),
        ("proxy.test/hunter2", True),
        ("http://proxy.test:1#hunter2", True),
    ],
)
def test_what_stands_behind_a_proxys_address_may_be_a_secret_too(value, secret):
    assert may_hold_password(value) is secret
