"""Remedies that no test follows yet. This list only shrinks: a new remedy has a scenario from the start."""

from __future__ import annotations

from typing import Final

NOT_YET: Final = frozenset(
    {
        # portico.auth.exchange
        "try again",
        # portico.auth.held
        "run the command again to use the new sign-in",
        # portico.auth.outcome
        "sign in again: {prog} onboard --auth-choice {}-api{} --profile {} --replace",
        "the client id, or its registration, does not fit this server: correct it with {prog} config edit, then sign in again: {prog} models auth login --provider {} --profile {} --replace",
        "the client id, or its registration, does not fit this server: correct it with {prog} config edit, then sign in again: {prog} onboard --auth-choice {}-api{} --profile {} --replace",
        "the first use after {} min tries again; if you cannot wait, sign in again: {prog} models auth login --provider {} --profile {} --replace",
        "the first use after {} min tries again; if you cannot wait, sign in again: {prog} onboard --auth-choice {}-api{} --profile {} --replace",
        # portico.auth.pause
        "tried {} s ago; it is tried again when asked for in {} s",
    }
)
