"""JSON answers of a token endpoint, in the words of RFC 6749 section 5."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from email.utils import formatdate
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aiohttp.typedefs import Handler, Middleware

    from portico.interfaces.basics import Clock
    from portico.testing.as_tokens import Issued, PresentedTokens, TokenRefused

NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}


def token_reply(issued: Issued, *, refresh: bool = True, id_token: str | None = None) -> web.Response:
    """A successful answer (section 5.1), with a refresh token or without one."""
    lifetime = int(issued.ttl_s) if issued.ttl_s == int(issued.ttl_s) else issued.ttl_s
    fields = {
        "access_token": issued.access,
        "token_type": "Bearer",
        "expires_in": lifetime,
        "scope": issued.family.scope,
        **({"refresh_token": issued.refresh} if refresh else {}),
        **({"id_token": id_token} if id_token is not None else {}),
    }
    return web.json_response(fields, headers=NO_STORE)


def id_token(claims: Mapping[str, object]) -> str:
    """An ID token of `claims`, signed with a key that nobody has: a client takes it from the token endpoint as it is."""
    head, body = (_part(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims))
    signature = hmac.new(secrets.token_bytes(32), f"{head}.{body}".encode(), hashlib.sha256).digest()
    return f"{head}.{body}.{_part(signature)}"


def _part(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def refusal(refused: TokenRefused, *, status: int = 400) -> web.Response:
    """An error answer (section 5.2)."""
    description = {"error_description": refused.description} if refused.description else {}
    return web.json_response({"error": refused.code, **description}, status=status, headers=NO_STORE)


async def read_form(request: web.Request) -> dict[str, str]:
    """The fields of a form-encoded POST, each at most once; empty where the body is something else."""
    if request.content_type != "application/x-www-form-urlencoded":
        return {}
    form = await request.post()
    if any(len(form.getall(name)) > 1 for name in form):
        return {}
    return {name: value for name, value in form.items() if isinstance(value, str)}


def note_refresh_tokens(presented: PresentedTokens) -> Middleware:
    """A middleware that notes each refresh token sent in to be refreshed, before anything may go wrong with its request."""

    @web.middleware
    async def note(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.method == "POST":
            form = await read_form(request)
            if form.get("grant_type") == "refresh_token" and "refresh_token" in form:
                presented.note(form["refresh_token"])
        return await handler(request)

    return note


def tell_time(app: web.Application, clock: Callable[[], Clock]) -> None:
    """Let `app` answer with the `Date` of its own clock, as a server does: clients measure its moments by that."""

    @web.middleware
    async def date(request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await handler(request)
        if not response.prepared:
            response.headers.setdefault("Date", formatdate(clock().wall_ms() / 1000, usegmt=True))
        return response

    app.middlewares.insert(0, date)


def issuer_of(request: web.Request) -> str:
    """The issuer that a request was addressed to: an origin, without a slash."""
    return f"{request.scheme}://{request.host}"
