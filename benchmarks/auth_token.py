"""`portico auth token` with a fresh token in a real Secret Service, against `keyring get` of the very same item."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from figures import Figure, compile_everything, environment, launcher, ratios

GOAL = 1.0
FLOOR = "x = `keyring get` of the same item"
HOUR_MS = 3_600_000


def measure(rounds: int = 25) -> list[Figure]:
    """The token command as a ratio to `keyring get`."""
    from portico.testing.secret_service import secret_service

    compile_everything()
    with tempfile.TemporaryDirectory(prefix="portico-bench-") as name, secret_service() as service:
        folder = Path(name)
        env = environment(
            **service.env, HOME=name, PORTICO_STATE_DIR=str(folder / "state"), PORTICO_CONFIG=str(folder / "portico.json5")
        )
        os.environ |= service.env
        place, user, profile = _signed_in(env)
        floor = [*launcher(folder, "keyring", "keyring.cli"), "get", place, user]
        token = [*launcher(folder, "portico", "portico.cli.main"), "auth", "token", profile]
        found = ratios(floor, {"token": token}, env, rounds=rounds)
    return [Figure("portico auth token", found["token"], GOAL, "x", FLOOR)]


def _signed_in(env: dict[str, str]) -> tuple[str, str, str]:
    """A profile whose token is good for an hour; its record's service and user, and its id."""
    from portico.paths import resolve_paths
    from portico.secret import Secret
    from portico.store.profiles import ProfileIndex
    from portico.store.records import OAuthProfile, Tokens
    from portico.store.vault import Vault

    now = time.time_ns() // 1_000_000
    paths = resolve_paths(env=env)
    vault = Vault(paths, ProfileIndex(paths), env=env)
    vault.probe()
    profile = OAuthProfile(
        id="minimax-portal:default",
        provider="minimax-portal",
        plugin="minimax-portal-auth",
        region="global",
        issuer="https://account.minimax.io",
        client_id="benchmark",
        dialect="minimax-user-code",
        api_base="https://api.minimax.io/anthropic",
        token_endpoint="https://account.minimax.io/oauth/token",
        created_at=now,
    )
    vault.commit(profile, Tokens(Secret("a" * 900), Secret("r" * 300), now + HOUR_MS, generation=0))
    location = vault.location(profile.id)
    return location.service or "", location.user or "", profile.id


if __name__ == "__main__":
    print(*measure(), sep="\n")
