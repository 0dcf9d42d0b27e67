"""Somebody at a browser, for an authorization server that shows plain HTML forms: `form_filler.py URL`.

Fills in and submits the first form of each page, with a cookie jar, until a page has none. Standard library only.
"""

from __future__ import annotations

import sys
import urllib.parse
import urllib.request
from html.parser import HTMLParser
from http.cookiejar import CookieJar

MAX_PAGES = 10
TYPED = {"login": "ada", "password": "any"}


class FirstForm(HTMLParser):
    """The action and the fields of the first form that is posted."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self._page = page
        self._open = False
        self.action: str | None = None
        self.fields: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form" and self.action is None and values.get("method", "").lower() == "post":
            self._open = True
            self.action = urllib.parse.urljoin(self._page, values.get("action", ""))
        elif self._open and tag == "input" and "name" in values:
            self.fields[values["name"]] = TYPED.get(values["name"], values.get("value", ""))

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._open = False


def walk(url: str) -> str:
    """Submit form after form from `url` on; return the address of the last page."""
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
    request = urllib.request.Request(url)
    for _ in range(MAX_PAGES):
        with opener.open(request, timeout=20) as reply:
            form = FirstForm(reply.url)
            form.feed(reply.read().decode())
            if form.action is None:
                return reply.url
        request = urllib.request.Request(form.action, data=urllib.parse.urlencode(form.fields).encode())
    raise SystemExit("too many pages")


if __name__ == "__main__":
    walk(sys.argv[1])
