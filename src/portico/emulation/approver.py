"""A browser that approves a sign-in: `python -m portico.emulation.approver URL`, or `-` to read the URL from standard input.

It replaces a user with a browser: it opens the page, submits the approval form, and follows the pages up to the command's own
loopback URL. It knows only the pages of Portico's emulators. It uses only the standard library, so that it starts fast as
`$BROWSER`. Proxy and certificates come from the environment (`HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`, `SSL_CERT_FILE`).
"""

from __future__ import annotations

import argparse
import http.client
import sys
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Final

_MAX_PAGES: Final = 8
_MAX_BODY: Final = 256 * 1024
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_DECISION: Final = "decision"
NOT_ACCEPTED: Final = 3  # the exit code


class ApprovalFailed(Exception):
    """The pages did not lead to an approval."""


class DecisionNotAccepted(ApprovalFailed):
    """The page asked again after the decision."""


@dataclass(slots=True)
class Page:
    """A page: its first form, and the target of a `refresh`."""

    url: str
    action: str | None = None
    fields: dict[str, str] = field(default_factory=dict)
    decisions: set[str] = field(default_factory=set)
    refresh: str | None = None
    text: str = ""


class _Reader(HTMLParser):
    def __init__(self, page: Page) -> None:
        super().__init__()
        self._page = page
        self._in_form = False
        self._hidden_depth = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form" and self._page.action is None:
            self._in_form = True
            self._page.action = urllib.parse.urljoin(self._page.url, values.get("action", ""))
        elif tag == "meta" and values.get("http-equiv", "").lower() == "refresh":
            target = values.get("content", "").partition("=")[2]
            self._page.refresh = urllib.parse.urljoin(self._page.url, target) if target else None
        elif tag in {"style", "script", "title"}:
            self._hidden_depth += 1
        elif self._in_form and (name := values.get("name")):
            self._field(tag, name, values)

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._in_form = False
        elif tag in {"style", "script", "title"}:
            self._hidden_depth = max(0, self._hidden_depth - 1)

    def handle_data(self, data: str) -> None:
        if not self._hidden_depth and data.strip():
            self._page.text = f"{self._page.text} {data.strip()}".strip()

    def _field(self, tag: str, name: str, values: dict[str, str]) -> None:
        if name == _DECISION:
            self._page.decisions.add(values.get("value", ""))
        elif tag == "input":
            self._page.fields[name] = values.get("value", "")


def approve(url: str, *, decision: str = "approve", timeout_s: float = 20.0) -> Page:
    """Follow the pages from `url` through the approval, and return the last one.

    Raises:
        DecisionNotAccepted: the page asked again.
        ApprovalFailed: a page could not be opened, or no page asked for a decision.
    """
    page = _open(_request(url), timeout_s)
    # A command starts its browser with its start address, which redirects to the page whose URL contains the redirect URI.
    redirect = _redirect_uri(page.url if _is_local(url) and _is_emulated(page.url) else url)
    decided = False
    for _ in range(_MAX_PAGES):
        request = _next_step(page, None if decided else decision, redirect)
        if request is None:
            break
        decided = decided or decision in page.decisions
        page = _open(request, timeout_s)
    if decided and decision in page.decisions:
        raise DecisionNotAccepted(f"the page asks again: {page.text[:300]}")
    if not decided:
        raise ApprovalFailed(f"no page asked for a decision; the last one says: {page.text[:300] or '(nothing)'}")
    return page


def _next_step(page: Page, decision: str | None, redirect: str | None) -> urllib.request.Request | None:
    """The request that the page would send by itself, or at the next click.

    Forms go only to emulated hosts (https, through the proxy) and to the redirect URI of the sign-in.
    """
    action = page.action or ""
    if decision in page.decisions and _is_emulated(action):
        return _request(action, {**page.fields, _DECISION: decision or ""})
    if action == redirect and not page.decisions:
        return _request(action, page.fields)
    return _request(page.refresh) if page.refresh and page.refresh != page.url else None


def _is_emulated(url: str) -> bool:
    parts = urllib.parse.urlsplit(url)
    return parts.scheme == "https" and parts.hostname not in _LOOPBACK


def _is_local(url: str) -> bool:
    return urllib.parse.urlsplit(url).hostname in _LOOPBACK


def _redirect_uri(url: str) -> str | None:
    """The `redirect_uri` of an authorization request (RFC 6749 section 4.1.1)."""
    return next(iter(urllib.parse.parse_qs(urllib.parse.urlsplit(url).query).get("redirect_uri", ())), None)


def _request(url: str, form: dict[str, str] | None = None) -> urllib.request.Request:
    if urllib.parse.urlsplit(url).scheme not in {"http", "https"}:
        raise ApprovalFailed("only http and https addresses are opened")
    data = urllib.parse.urlencode(form).encode() if form is not None else None
    return urllib.request.Request(url, data=data)  # noqa: S310 - the scheme has just been checked


def _open(request: urllib.request.Request, timeout_s: float) -> Page:
    parts = urllib.parse.urlsplit(request.full_url)
    try:
        try:
            reply = urllib.request.urlopen(request, timeout=timeout_s)  # noqa: S310 - `_request` made it, for http(s) alone
        except urllib.error.HTTPError as error:
            reply = error
        with reply:
            body = _read_body(reply)
            page = Page(url=reply.url or request.full_url)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise ApprovalFailed(f"cannot open {parts.scheme}://{parts.netloc}{parts.path}: {error}") from error
    _Reader(page).feed(body.decode("utf-8", "replace"))
    return page


def _read_body(reply: http.client.HTTPResponse | urllib.error.HTTPError) -> bytes:
    """The first `_MAX_BODY` bytes of a page.

    Raises:
        OSError, http.client.HTTPException: the page is incomplete.
    """
    body = reply.read(_MAX_BODY)
    if len(body) < _MAX_BODY and reply.length:
        raise OSError("the page broke off")  # `read` with a limit does not report an incomplete page
    return body


def main(argv: list[str] | None = None) -> int:
    """Approve the sign-in on the page at URL, or deny it with `--deny`."""
    parser = argparse.ArgumentParser(prog="portico.emulation.approver", description=main.__doc__)
    parser.add_argument("url", metavar="URL", help="the page; - reads it from standard input, where no other user can see it")
    parser.add_argument("--deny", action="store_true", help="deny instead")
    args = parser.parse_args(argv)
    try:
        approve(sys.stdin.readline().strip() if args.url == "-" else args.url, decision="deny" if args.deny else "approve")
    except ApprovalFailed as failure:
        sys.stderr.write(f"approver: {failure}\n")
        return NOT_ACCEPTED if isinstance(failure, DecisionNotAccepted) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
