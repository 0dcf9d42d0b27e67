"""Which headers pass the gateway: those named here, each in its direction. Whatever else either side sends stays with it.

So no cookie, origin, forwarding header, foreign credential, policy for browsers or hop-by-hop header (RFC 9110 section 7.6.1) can
pass, whatever name it has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from portico.models.error_reply import is_read

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_TO_PROVIDER: Final = frozenset({"accept", "accept-language", "openai-beta", "user-agent", "idempotency-key"})
_TO_PROVIDER_PREFIX: Final = "anthropic-"
_SAID_TO_PROVIDER: Final = {"content-type": "application/json", "accept-encoding": "identity"}
_OF_BODY: Final = frozenset({"content-type", "content-encoding"})


def to_provider(received: Iterable[tuple[str, str]]) -> dict[str, str]:
    """What a client's request may say to the provider. The answer comes uncompressed, so that it can be metered as it passes."""
    passed = {
        lowered: value
        for name, value in received
        if (lowered := name.lower()) in _TO_PROVIDER or lowered.startswith(_TO_PROVIDER_PREFIX)
    }
    passed.update(_SAID_TO_PROVIDER)
    return passed


def to_client(received: Iterable[tuple[str, str]]) -> dict[str, str]:
    """What a provider's answer may say to the client; without values that no HTTP library is sure to send or to read."""
    return {
        lowered: value
        for name, value in received
        if ((lowered := name.lower()) in _OF_BODY or is_read(lowered)) and _is_plain(value)
    }


def _is_plain(value: str) -> bool:
    """Printable ASCII and tabs, as new header fields are to be (RFC 9110 section 5.5)."""
    return value.isascii() and value.replace("\t", " ").isprintable()


def framed(first: str, fields: Mapping[str, str]) -> bytes:
    """The head of a message (RFC 9112 section 2.1) whose first line is `first`.

    Raises:
        ValueError: a field would break out of its line.
    """
    head = "\r\n".join([first, *[f"{name}: {value}" for name, value in fields.items()], "", ""])
    if not head.count("\r") == head.count("\n") == len(fields) + 2 or "\0" in head:
        raise ValueError("a header holds a line break")
    return head.encode("utf-8", "surrogateescape")
