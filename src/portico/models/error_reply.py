"""What programs read of a provider's error, kept for the client of the gateway.

Anthropic's and OpenAI's SDKs, and the agents on top of them, decide by these fields and headers whether to send a request again,
when, and whether to shorten it first (anthropic-sdk-python and openai-python: `_base_client.py`, `_exceptions.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from portico.secret import Hider, redact

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from portico.secret import Secret

HEADERS: Final = frozenset(
    {
        *("request-id", "x-request-id", "openai-processing-ms", "openai-version"),
        *("x-should-retry", "retry-after", "retry-after-ms"),
    }
)
"""The headers of a provider's answer that SDKs read, in small letters."""
HEADER_PREFIXES: Final = ("anthropic-ratelimit-", "x-ratelimit-")
"""The beginnings of further ones."""
_LONGEST_FIELD: Final = 256
_LONGEST_HEADER: Final = 1024


@dataclass(frozen=True, slots=True)
class ErrorReply:
    """The fields of a provider's error object and the headers beside it; None where it has none. No text of it is a credential.

    `type`, `code` and `param` are those of `error`; `request_id` is Anthropic's, beside `error`. `headers` have small names.
    """

    type: str | None = None
    code: str | int | None = None
    param: str | None = None
    request_id: str | None = None
    headers: tuple[tuple[str, str], ...] = ()

    def without_fields(self) -> ErrorReply:
        """The same without what the provider says of the credential, which is the gateway's and not the client's."""
        return replace(self, type=None, code=None, param=None)


def error_in(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """The object that says what is wrong: `error`, or where a stream of responses has it; empty where there is none.

    In such a stream an `error` event is itself that object, and a `response.failed` event has it in its response
    (https://platform.openai.com/docs/api-reference/responses-streaming).
    """
    error = answer.get("error")
    if isinstance(error, dict):
        return error
    response = answer.get("response")
    inner = response.get("error") if isinstance(response, dict) else None
    if isinstance(inner, dict):
        return inner
    if error is None and answer.get("type") == "error":
        return {name: value for name, value in answer.items() if name != "type"}
    return {}


def read_error_reply(headers: Iterable[tuple[str, str]], body: Mapping[str, object], *known: Secret | None) -> ErrorReply:
    """What `headers` and the JSON object `body` say to programs. `known` secrets are hidden."""
    secrets = [secret for secret in known if secret is not None]
    hide = Hider(secrets)
    fields = error_in(body)

    def text(value: object) -> str | None:
        return redact(value, *secrets) if isinstance(value, str) and 0 < len(value) <= _LONGEST_FIELD else None

    code = fields.get("code")
    number = code if isinstance(code, int) and not isinstance(code, bool) else None
    passed = tuple(
        (lowered, hide(value))
        for name, value in headers
        if is_read(lowered := name.lower()) and hide(lowered) == lowered and len(value) <= _LONGEST_HEADER
    )
    return ErrorReply(
        text(fields.get("type")), text(code) or number, text(fields.get("param")), text(body.get("request_id")), passed
    )


def is_read(name: str) -> bool:
    """Whether SDKs read the header of this name, in small letters."""
    return name in HEADERS or name.startswith(HEADER_PREFIXES)
