"""Which URLs an authorization server may name; the rules for any URL are those of `portico.urls`."""

from __future__ import annotations

from portico.urls import is_loopback, why_not_a_safe_url, without_query

__all__ = ["is_loopback", "why_not_a_safe_url", "why_not_named_by", "without_query"]


def why_not_named_by(namer: str, url: object) -> str | None:
    """Why `url`, which the server at `namer` names in an answer, may not be requested or opened; None where it may.

    Plain http is for a server that is itself met that way, on this machine: one elsewhere could make Portico, or the browser,
    knock at whatever listens here.
    """
    why = why_not_a_safe_url(url)
    if why is None and str(url).startswith("http://") and not namer.startswith("http://"):
        return "it is not https, and the server that names it is not on this machine"
    return why
