"""The authorization endpoint: what a client asks for, a person's consent, and the way back (RFC 6749 section 4.1)."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

from aiohttp import web

from portico.testing import as_pages
from portico.testing.as_grants import check_challenge
from portico.testing.as_tokens import TokenRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from portico.testing.as_grants import CodeTable

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True, slots=True)
class Client:
    """A registered public client.

    `redirect_uris` are compared exactly, save for the port of a loopback one (RFC 8252 section 7.3); with none registered, any
    loopback http URI will do.
    """

    id: str
    name: str = "Test client"
    redirect_uris: tuple[str, ...] = ()

    def takes(self, redirect_uri: str) -> bool:
        """Whether the browser may be sent back to `redirect_uri`."""
        given = urlsplit(redirect_uri)
        if given.fragment or given.username:
            return False
        loopback = given.scheme == "http" and given.hostname in _LOOPBACK
        if not self.redirect_uris:
            return loopback
        known = (urlsplit(uri) for uri in self.redirect_uris)
        return redirect_uri in self.redirect_uris or (
            loopback and any((uri.scheme, uri.hostname, uri.path) == ("http", given.hostname, given.path) for uri in known)
        )


@dataclass(frozen=True, slots=True)
class _Asked:
    client: Client
    redirect_uri: str
    challenge: str
    scope: str
    state: str | None
    form_post: bool
    nonce: str | None = None
    consent: bool = False


class AuthorizeEndpoint:
    """GET shows the consent page, POST takes the decision and sends the browser back with a code, or with an error.

    `auto_approve` sends it back at once. `send_iss` adds RFC 9207's `iss`; `issuer_for` tells it. `require_pushed` refuses a
    request whose parameters were not pushed first (RFC 9126); `pushed` are those that were, by their `request_uri`, for one use.
    """

    def __init__(self, clients: Mapping[str, Client], codes: CodeTable, issuer_for: Callable[[web.Request], str]) -> None:
        self.auto_approve = False
        self.send_iss = True
        self.require_pushed = False
        self.pushed: dict[str, Mapping[str, str]] = {}
        self._clients = clients
        self._codes = codes
        self._issuer_for = issuer_for
        self._waiting: dict[str, _Asked] = {}

    async def show(self, request: web.Request) -> web.StreamResponse:
        """The consent page. A client or redirect URI that is not known gets a page, every other fault goes back to the client."""
        query: Mapping[str, str] = request.query
        client = self._clients.get(query.get("client_id", ""))
        if self.require_pushed or "request_uri" in query:
            pushed = self.pushed.pop(query.get("request_uri", ""), None)
            if pushed is None or pushed.get("client_id") != query.get("client_id"):
                return as_pages.message("Not possible", "This request was not pushed first, or was used before.", status=400)
            query = pushed
        redirect_uri = query.get("redirect_uri", "")
        if client is None or not client.takes(redirect_uri):
            return as_pages.message("Not possible", "This client or its redirect URI is not registered here.", status=400)
        form_post = query.get("response_mode") == "form_post"
        try:
            challenge = _checked_request(request, query)
        except TokenRefused as refused:
            asked = _Asked(client, redirect_uri, "", "", query.get("state"), form_post)
            return self._back(request, asked, {"error": refused.code, "error_description": refused.description})
        asked = _Asked(
            client,
            redirect_uri,
            challenge,
            query.get("scope", ""),
            query.get("state"),
            form_post,
            query.get("nonce"),
            consent="consent" in query.get("prompt", "").split(),
        )
        if self.auto_approve:
            return self._approved(request, asked)
        ticket = secrets.token_urlsafe(24)
        self._waiting[ticket] = asked
        return as_pages.consent(request.path, {"ticket": ticket}, client=client.name, scope=asked.scope)

    def push(self, form: Mapping[str, str]) -> str:
        """Keep the parameters of a request that was pushed, and return its `request_uri` (RFC 9126 section 2.2)."""
        request_uri = f"urn:ietf:params:oauth:request_uri:{secrets.token_urlsafe(16)}"
        self.pushed[request_uri] = dict(form)
        return request_uri

    async def decide(self, request: web.Request) -> web.StreamResponse:
        """A person's answer: `decision` "approve", anything else is a no."""
        form = await request.post()
        asked = self._waiting.pop(str(form.get("ticket")), None)
        if asked is None:
            return as_pages.message("Not possible", "This page is out of date.", status=400)
        if form.get("decision") != "approve":
            return self._back(request, asked, {"error": "access_denied"})
        return self._approved(request, asked)

    def _approved(self, request: web.Request, asked: _Asked) -> web.StreamResponse:
        code = self._codes.issue(
            asked.client.id, asked.redirect_uri, asked.challenge, asked.scope, nonce=asked.nonce, consent=asked.consent
        )
        return self._back(request, asked, {"code": code})

    def _back(self, request: web.Request, asked: _Asked, answer: Mapping[str, str]) -> web.StreamResponse:
        state = {"state": asked.state} if asked.state is not None else {}
        iss = {"iss": self._issuer_for(request)} if self.send_iss else {}
        fields = {**answer, **state, **iss}
        if asked.form_post:
            return as_pages.form_post(asked.redirect_uri, fields)
        separator = "&" if urlsplit(asked.redirect_uri).query else "?"
        # 303, so that the browser does not post the consent form to the client (RFC 9700 section 4.12).
        headers = {"Location": f"{asked.redirect_uri}{separator}{urlencode(fields)}", "Cache-Control": "no-store"}
        return web.Response(status=303, headers=headers)


def _checked_request(request: web.Request, query: Mapping[str, str]) -> str:
    if any(len(request.query.getall(name)) > 1 for name in request.query):
        raise TokenRefused("invalid_request", "a parameter is given twice")
    if query.get("response_type") != "code":
        raise TokenRefused("unsupported_response_type", "only code is served")
    return check_challenge(query.get("code_challenge"), query.get("code_challenge_method"))
