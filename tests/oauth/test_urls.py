"""The URLs that an authorization server may name."""

from __future__ import annotations

import pytest

from portico.urls import why_not_named_by


@pytest.mark.requirement("E22")
@pytest.mark.parametrize(
    ("url", "namer", "may"),
    [
        ("http://127.0.0.1:631/admin", "https://as.test/device", False),
        ("http://127.0.0.1:631/admin", "", False),
        ("http://localhost:8080/device", "http://127.0.0.1:8080/device", True),
        ("https://as.test/device", "http://127.0.0.1:8080/device", True),
        ("https://as.test/device", "https://as.test/device", True),
        ("http://as.test/device", "http://127.0.0.1:8080/device", False),
    ],
)
def test_only_a_local_server_can_name_a_local_http_page(url, namer, may):
    assert (why_not_named_by(namer, url) is None) is may
