"""Which URLs may be requested, shown and opened."""

from __future__ import annotations

import pytest

from portico.urls import is_loopback, is_nearby, why_not_a_safe_url, without_query

GOOD = (
    "https://as.test",
    "https://as.test/authorize?a=1&b=%20x+y",
    "https://as.test:8443/a",
    "https://xn--mller-kva.test/",
    "https://192.0.2.1/",
    "https://[2001:db8::1]:443/a",
    "http://127.0.0.1:1234/a",
    "http://[::1]:1234/a",
    "http://localhost:1234/a",
)
BAD = (
    None,
    5,
    "",
    "as.test",
    "//as.test/a",
    "ftp://as.test/",
    "file:///etc/passwd",
    "javascript:alert(1)",
    "smb://host/share",
    "HTTPS://as.test/",
    " https://as.test/",
    "https://as.test/ ",
    "https://as.test/\n",
    "https://as.test/\t",
    "https://as.test/\x00",
    "https://as.test/a#fragment",
    "https://as.test/'x'",
    "https://as.test/$HOME",
    "https://as.test/;a",
    "https://as.test/a|b",
    "https://as.test/a\\b",
    "https://as.test/é",
    "https://user@as.test/",
    "https://user:pw@as.test/",
    "https://as.test:0/",
    "https://as.test:65536/",
    "https://as.test:port/",
    "https:///path",
    "https://-as.test/",
    "https://as..test/",
    "https://as.test./",
    "https://0x7f.0x1/",
    "https://127.1/",
    "https://2130706433/",
    "https://[fe80::1%25eth0]/",
    "https://[::1/",
    "https://as.test/[x]",
    "http://as.test/",
    "http://127.evil.com/",
    "http://localhost.evil.com/",
    "http://0177.0.0.1/",
    "http://192.0.2.1/",
    "http://127.0.0.1@evil.test/",
    "https://as.test/" + "a" * 9000,
)


@pytest.mark.parametrize("url", GOOD)
def test_a_plain_url_may_be_used(url):
    assert why_not_a_safe_url(url) is None


@pytest.mark.requirement("E22")
@pytest.mark.parametrize("url", BAD)
def test_any_other_url_may_not_and_the_reason_repeats_nothing_of_it(url):
    why = why_not_a_safe_url(url)

    assert why
    assert not (isinstance(url, str) and len(url) > 8 and url in why)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.1.2.3", True), ("::1", True), ("localhost", True)]
    + [(host, False) for host in ("127.evil.com", "localhost.evil.com", "0x7f.1", "0.0.0.0", "::", "10.0.0.1", "", "[::1]")],
)
def test_loopback_is_a_literal_or_localhost(host, loopback):
    assert is_loopback(host) is loopback


def test_a_url_in_an_error_has_no_query_and_no_user():
    assert without_query("https://u:p@as.test:1/cb?code=secret#x") == "https://as.test:1/cb"
    assert without_query("https://[") == "(unreadable URL)"


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "::1", "localhost", "10.0.0.7", "192.168.1.5", "fd00::1", "nas", "nas.local", "nas.home.arpa"]
)
def test_a_host_that_only_the_local_network_has_is_near(host):
    assert is_nearby(host)
    assert why_not_a_safe_url(f"http://{f'[{host}]' if ':' in host else host}:1234/v1", nearby=True) is None


@pytest.mark.parametrize(
    "host",
    [
        *("as.test.example", "8.8.8.8", "2001:4860::1", "local.evil.com", "127.evil.com"),
        *("169.254.169.254", "169.254.170.23", "fe80::1", "fd00:ec2::254", "metadata.google.internal"),
    ],
)
def test_any_other_host_is_not_and_plain_http_to_it_is_refused(host):
    assert not is_nearby(host)
    assert why_not_a_safe_url(f"http://{f'[{host}]' if ':' in host else host}/v1", nearby=True) is not None
