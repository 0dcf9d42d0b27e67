"""Calls into a dialect, which is a plugin's and meets whatever a server may send."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from portico.errors import REPORT_TO_AUTHOR, OAuthError, PorticoError, place_of

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def asked(dialect: str, call: Callable[[], T], *, again: bool = True) -> T:
    """What a method of `dialect` returns.

    Raises:
        PorticoError: as the method raised it; anything else is `reply-invalid`, which another try may mend if `again`. Of the
            original only its kind and place are kept: its text may quote a token.
    """
    try:
        return call()
    except PorticoError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a plugin raises
        raise OAuthError(
            "reply-invalid",
            "The provider's reply could not be understood." if again else "The provider cannot be asked.",
            transient=again,
            why=f"the dialect {dialect} failed with {place_of(error)}",
            hint=REPORT_TO_AUTHOR,
        ) from None
