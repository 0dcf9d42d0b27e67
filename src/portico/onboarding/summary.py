"""The last words of a sign-in: who, which region, until when, which model, and what to run next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portico.onboarding.account_in_use import summary_lines
from portico.onboarding.times import in_words, iso
from portico.usage.plan import in_short, report_as_json

if TYPE_CHECKING:
    from portico.onboarding.key_sign_in import KeyKept
    from portico.onboarding.sign_in import SignedIn
    from portico.onboarding.workbench import Workbench


def tell(bench: Workbench, done: SignedIn, *, background: str | None) -> None:
    """Print what was done: lines on stderr for a person, one JSON object on stdout for a program."""
    if bench.out.is_json:
        bench.out.event(as_json(bench, done, background=background))
        return
    for line in _lines(bench, done, background):
        bench.out.note(line)


def as_json(bench: Workbench, done: SignedIn, *, background: str | None) -> dict[str, object]:
    """The outcome as the last event of `--json` output."""
    profile = done.profile
    return {
        "event": "signed-in",
        "profile": profile.id,
        "provider": profile.provider,
        "region": profile.region,
        "apiBase": profile.api_base,
        "inUse": done.in_use.now,
        "wasInUse": done.in_use.before,
        "expiresAt": profile.expires_at,
        "store": profile.store,
        "defaultModel": bench.config.config.agents.primary,
        "config": str(bench.paths.config),
        "oldRevoked": done.old_revoked,
        "background": background,
        "plan": report_as_json(done.plan, bench.program) if done.plan is not None else None,
        "notes": list(done.notes),
    }


def tell_key(bench: Workbench, kept: KeyKept) -> None:
    """Print what was set up with a key, or without one."""
    setup, primary = kept.setup, bench.config.config.agents.primary
    if bench.out.is_json:
        told = {
            "event": "set-up",
            "provider": setup.spec.id,
            "model": setup.reference,
            "keptIn": setup.place if setup.key else None,
        }
        in_use = {"inUse": kept.in_use.now, "wasInUse": kept.in_use.before}
        bench.out.event({**told, **in_use, "check": kept.told, "defaultModel": primary, "config": str(bench.paths.config)})
        return
    lines = ["", f"Set up: {setup.spec.label}, {setup.reference}"]
    if kept.profile is not None:
        lines += summary_lines(kept.in_use, kept.profile, bench.program)
    elif kept.in_use.now is not None:
        lines.append(f"In use: {kept.in_use.now} (unchanged): a stored credential comes before this one.")
    lines.append(f"  Check          {kept.told}")
    lines += [f"  Key kept in    {_key_place(bench, kept)}"] if setup.choice.needs_key else []
    lines += [f"  Default model  {primary}", f"  Config         {bench.paths.config}"]
    for line in [*lines, "", f'Next:  {bench.program} ask "Hello"   |   {bench.program} models list', ""]:
        bench.out.note(line)


def _key_place(bench: Workbench, kept: KeyKept) -> str:
    setup = kept.setup
    if setup.place == "env":
        name = setup.spec.env_keys[0]
        unset = name not in bench.config.env
        return f"the environment variable {name}, which has to {f'be set: export {name}=...' if unset else 'stay set'}"
    if setup.place == "config":
        return f"{bench.paths.config}, as plain text"
    return "the OS keyring" if (setup.store or bench.local_store().last_store) != "file" else "a sealed file"


def _lines(bench: Workbench, done: SignedIn, background: str | None) -> list[str]:
    profile, prog = done.profile, bench.program
    primary = bench.config.config.agents.primary
    until = in_words(profile.expires_at, bench.clock.wall_ms())
    lines = ["", f"Signed in: {profile.id}", *summary_lines(done.in_use, profile, prog)]
    lines.append(f"  Region         {done.region.label} ({profile.api_base})")
    lines.append(f"  Access token   good for {until}" + (", then refreshed by itself" if profile.has_refresh else ""))
    lines.append(f"  Kept in        {'the OS keyring' if profile.store == 'keyring' else 'a sealed file'}")
    if profile.default_pending or primary == done.method.default_model:
        lines.append(f"  Default model  {primary}")
    else:
        lines.append(f"  Default model  {primary or 'none'} (unchanged); this sign-in also has {done.method.default_model}")
    lines.append(f"  Config         {bench.paths.config}" + ("" if done.config_changed else " (already as it should be)"))
    lines += [f"  Plan           {in_short(done.plan, prog)}"] if done.plan is not None else []
    lines += [f"  Background     {background}"] if background else []
    lines += [f"  Note           {note}" for note in done.notes]
    if done.old_revoked is not None:
        lines.append("  Old sign-in    " + ("revoked" if done.old_revoked else "replaced here; not revoked at the provider"))
    return [*lines, "", f'Next:  {_ask(bench, done)} "Hello"   |   {prog} auth list   |   {prog} models list', ""]


def _ask(bench: Workbench, done: SignedIn) -> str:
    """The command that asks a model of this sign-in: the default one and the sign-in in use need not be this one's."""
    from portico.models.loader import ModelLoader

    config = bench.config.config
    loader = ModelLoader(config, bench.plugins.providers(), bench.token_store.profiles(), bench.config.env)
    words = [bench.program, "ask"]
    primary = config.agents.primary
    if primary is None or loader.catalog.expand(primary).provider != done.profile.provider:
        words.append(f"--model {done.method.default_model}")
    if done.profile.id not in loader.in_use():
        words.append(f"--profile {done.profile.id}")
    return " ".join(words)


def when(profile_expiry: int | None, now_ms: int) -> str:
    """An expiry for a table: in words, and as a date."""
    if profile_expiry is None:
        return "no expiry told"
    return f"{in_words(profile_expiry, now_ms)} ({iso(profile_expiry)})"
