"""The callback server: receives one authorization response on the loopback interface (RFC 8252 section 7.3).

The port is bound before the authorization URL is built. The server accepts exactly one response. Anyone can guess the path, so
a request without the sign-in's state is refused and changes nothing. A request from another user is refused too, if the system
shows the user. The browser waits until the tokens are stored. Then it is redirected to a URL without parameters that shows the
result.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Final, Literal, Self

from portico.net.server import Bounds, bind_loopback, is_for
from portico.oauth.authorization_response import (
    CallbackRefused,
    ExpectedResponse,
    Parameters,
    UnrelatedResponse,
    read_parameters,
)
from portico.oauth.pages import PageResponse, host_names, page, read_form, serve
from portico.oauth.start_address import StartAddress, check_sender, rejection_page

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aiohttp import web

    from portico.errors import PorticoError
    from portico.interfaces.authorization import Redirect
    from portico.secret import Secret

Outcome = Literal["signed-in", "denied", "failed"]

_TOKEN_BYTES: Final = 16
_MAX_WAIT_S: Final = 30.0
_RESULT_PAGE_TIMEOUT_S: Final = 1.0
# Larger than usual, so that a code of excessive length gets its own error.
_BOUNDS: Final = Bounds(line_cap=64 * 1024, head=96 * 1024)
_METHODS: Final = ("GET", "POST")
# The errors of an incomplete pasted address.
_COPY_ERRORS: Final = frozenset({"neither-code-nor-error", "malformed-parameters", "empty-parameter", "iss-missing"})


class CallbackServer:
    """The server of one sign-in, as an async context manager.

    Args:
        redirect: where to listen.
        method: `GET` for the response mode `query`, `POST` for `form_post`.
        on_stray: called with the reason for each refused request.
        hold_s: how many seconds a browser waits for the result.

    Attributes:
        start: the start address on this server; it has no target until `redirect_to` is called.
    """

    def __init__(
        self,
        redirect: Redirect,
        *,
        method: Literal["GET", "POST"] = "GET",
        on_stray: Callable[[str], None] = lambda _reason: None,
        hold_s: float = _MAX_WAIT_S,
    ) -> None:
        self._redirect = redirect
        self._method = method
        self._on_stray = on_stray
        self._hold_s = hold_s
        self.start = StartAddress(on_stray)
        self._path = redirect.path
        self._result_path = f"/result/{secrets.token_urlsafe(_TOKEN_BYTES)}"
        self._expected: ExpectedResponse | None = None
        self._hosts: frozenset[str] = frozenset()
        self._port = 0

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._response: asyncio.Future[Secret | PorticoError] = loop.create_future()
        self._outcome: asyncio.Future[Outcome] = loop.create_future()
        self._shown = asyncio.Event()
        self._waiting_browsers = 0
        sockets = bind_loopback(self._redirect)
        self._port = sockets[0].getsockname()[1]
        self._hosts = host_names(self._redirect.host, self._port)
        self._runner = await serve(self._handle, sockets, _BOUNDS)
        return self

    async def __aexit__(self, *_exc: object) -> None:
        if not self._outcome.done():
            self._outcome.set_result("failed")
        try:
            async with asyncio.timeout(_RESULT_PAGE_TIMEOUT_S if self._waiting_browsers else 0):
                await self._shown.wait()
        except TimeoutError:
            pass
        finally:
            await self._runner.cleanup()

    @property
    def redirect_uri(self) -> str:
        """The redirect URI for the authorization request, with the bound port."""
        return f"{self._origin}{self._path}"

    @property
    def start_url(self) -> str:
        """The URL for the browser."""
        return f"{self._origin}{self.start.path}"

    @property
    def _origin(self) -> str:
        host = f"[{self._redirect.host}]" if ":" in self._redirect.host else self._redirect.host
        return f"http://{host}:{self._port}"

    @property
    def addresses(self) -> Sequence[tuple[object, ...]]:
        """The addresses of the sockets."""
        return self._runner.addresses

    def expect(self, expected: ExpectedResponse) -> None:
        """From now on, accept the response that matches `expected`."""
        self._expected = expected

    async def wait_for_response(self) -> Secret | PorticoError:
        """Wait for the code, or the error that ends the sign-in."""
        return await asyncio.shield(self._response)

    def accept(self, parameters: Parameters, *, pasted: bool = False) -> None:
        """Accept a response. A repeated response changes nothing; an unusable response ends the sign-in.

        An incomplete `pasted` response does not end the sign-in: the user can paste again.

        Raises:
            UnrelatedResponse: the response does not belong to this sign-in.
        """
        if self._expected is None:
            raise UnrelatedResponse("too-early")
        response = self._expected.read(parameters)
        if pasted and isinstance(response, CallbackRefused) and response.reason in _COPY_ERRORS:
            raise UnrelatedResponse(response.reason)
        self._set_response(response)

    def _set_response(self, response: Secret | PorticoError) -> None:
        if not self._response.done():
            self._response.set_result(response)

    def settle(self, outcome: Outcome) -> None:
        """Set the result that the waiting browser shows."""
        if not self._outcome.done():
            self._outcome.set_result(outcome)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path, _, query = request.raw_path.partition("?")
        if self.start.matches(request):
            return await self.start.answer(request)
        if not is_for(request, self._hosts):
            return self._reject("host")
        if path == self._result_path and request.method == "GET":
            return await self._show_result()
        if path != self._path:
            return self._reject("path")
        return await self._handle_response(request, query)

    async def _handle_response(self, request: web.BaseRequest, query: str) -> web.StreamResponse:
        """Accept the response and let its browser wait for the result; refuse any other request."""
        try:
            await check_sender(request)
        except UnrelatedResponse as error:
            return self._reject(error.reason)
        try:
            await self._read_response(request, query)
        except UnrelatedResponse as error:
            if request.method != self._method:
                return self._reject("method", Allow=self._method)
            return self._reject(error.reason)
        self._waiting_browsers += 1
        await self._wait_for_outcome(self._hold_s)
        if request.transport is None or request.transport.is_closing():
            self._browser_left()
        return PageResponse(303, Location=self._result_path)

    async def _read_response(self, request: web.BaseRequest, query: str) -> None:
        """Accept the response in a request. A response by the wrong method ends the sign-in.

        Raises:
            UnrelatedResponse: the response does not belong to this sign-in.
        """
        if request.method not in _METHODS:
            raise UnrelatedResponse("method")
        parameters = read_parameters(query if request.method == "GET" else await read_form(request))
        if request.method == self._method:
            self.accept(parameters)
            return
        if self._expected is None:
            raise UnrelatedResponse("too-early")
        self._expected.check_state(parameters)
        self._set_response(CallbackRefused("method", f"it came by {request.method}, but {self._method} was requested"))

    async def _show_result(self) -> web.StreamResponse:
        await self._wait_for_outcome(self._hold_s)
        if not self._outcome.done():
            return page("pending")
        # The server's shutdown waits for requests in progress, such as this one.
        self._shown.set()
        return page(self._outcome.result())

    def _browser_left(self) -> None:
        """Count a browser whose tab was closed, and which will not request the result.

        After the last browser has left, stop waiting.
        """
        self._waiting_browsers -= 1
        if not self._waiting_browsers:
            self._shown.set()

    async def _wait_for_outcome(self, seconds: float) -> None:
        await asyncio.wait({self._outcome}, timeout=seconds)

    def _reject(self, reason: str, **headers: str) -> PageResponse:
        self._on_stray(reason)
        return rejection_page(reason, **headers)
