"""`models list`: the default, the fallbacks and what the config names, or with `--all` everything that is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portico.cli.models_rows import model_rows
from portico.errors import ExitCode, UsageError
from portico.onboarding.pending import finish_pending

if TYPE_CHECKING:
    import argparse

    from portico.cli.models_rows import Row
    from portico.cli.runtime import Runtime
    from portico.interfaces.provider_spec import ModelCost, PriceTier

_K = 1000
_M = 1_000_000


def show_models(args: argparse.Namespace, rt: Runtime) -> int:
    """Print the models.

    Raises:
        UsageError: `--json` with `--plain`; `unknown-provider`.
    """
    if args.plain and rt.out.is_json:
        raise UsageError("usage", "Choose either --json or --plain, not both.")
    finish_pending(rt)
    if args.provider is not None:
        _check_provider(args.provider, rt)
    rows = model_rows(rt, everything=args.all, live=args.live or args.local, provider=args.provider)
    rows = [row for row in rows if row.local or not args.local]
    if rt.out.is_json:
        rt.out.json({"count": len(rows), "models": [_as_json(row) for row in rows]})
    elif args.plain:
        for row in rows:
            rt.out.line(str(row.reference))
    elif rows:
        _say(rows, rt)
    else:
        wider = not (args.all or args.local)
        rt.out.note(f"No models found. See {rt.program} models list --all" if wider else "No models found.")
    return ExitCode.OK


def _check_provider(provider: str, rt: Runtime) -> None:
    from difflib import get_close_matches

    off = rt.plugins.providers_off()
    known = rt.models().catalog.providers
    if provider in known:
        return
    if provider in off:
        hint: str | None = f"{{prog}} plugins enable {off[provider]}"
    else:
        near = next(iter(get_close_matches(provider, [*known, *off], n=1)), None)
        hint = f"Did you mean {near}?" if near else f"--provider {'|'.join(known)}"
    raise UsageError("unknown-provider", f"Unknown provider: {provider}", hint=hint)


def _say(rows: list[Row], rt: Runtime) -> None:
    rt.out.table(["Model", "Input", "Ctx", "Local", "Auth", "Price in/out", "Tags"], [_cells(row) for row in rows])
    for row in rows:
        if row.missing is not None:
            rt.out.note(f"{row.reference} is missing: {row.missing}")
    specs = {row.spec.id: row.spec for row in rows if row.spec is not None and row.spec.note}
    for spec in specs.values():
        # What may not answer any more is said in any case.
        say = rt.out.note if spec.successor is not None else rt.out.detail
        say(f"{spec.id}: {spec.note}")


def _cells(row: Row) -> list[str]:
    spec = row.spec
    size = _tokens(spec.context_window) if spec is not None and spec.context_window else "-"
    price = f"${spec.cost.input:g}/${spec.cost.output:g}" if spec is not None and spec.cost is not None else "-"
    return [
        str(row.reference),
        "+".join(spec.input) if spec is not None else "-",
        size,
        "yes" if row.local else "no",
        row.auth,
        price,
        ",".join(_tags(row)),
    ]


def _tags(row: Row) -> list[str]:
    retired = row.spec is not None and row.spec.retired_on is not None
    return [*row.tags, *(["retired"] if retired else []), *(["missing"] if row.missing is not None else [])]


def _as_json(row: Row) -> dict[str, object]:
    spec, missing = row.spec, row.missing is not None
    told: dict[str, object] = {
        "key": str(row.reference),
        "name": spec.name if spec is not None else str(row.reference),
        "input": "+".join(spec.input) if spec is not None else "-",
        "contextWindow": spec.context_window if spec is not None else None,
        "maxTokens": spec.max_tokens if spec is not None else None,
        "reasoning": spec.reasoning if spec is not None else None,
        "local": row.local if spec is not None else None,
        "available": row.auth == "yes" if spec is not None else None,
        "auth": row.auth,
        "tags": _tags(row),
        "missing": missing,
    }
    if missing:
        told["missingReason"] = row.missing
    if spec is not None:
        known = {"note": spec.note, "retiredOn": spec.retired_on, "successor": spec.successor}
        told |= {name: value for name, value in known.items() if value is not None}
    if spec is not None and spec.cost is not None:
        tiers = [{"inputAbove": tier.input_above, **_prices(tier)} for tier in spec.cost.tiers]
        told["cost"] = {**_prices(spec.cost), **({"tiers": tiers} if tiers else {})}
        told["priceSource"] = row.price_source
    return told if row.listed_by is None else {**told, "listedBy": row.listed_by}


def _prices(cost: ModelCost | PriceTier) -> dict[str, object]:
    return {"input": cost.input, "output": cost.output, "cacheRead": cost.cache_read, "cacheWrite": cost.cache_write}


def _tokens(count: int) -> str:
    """A number of tokens in a table's cell, in the decimal units of the providers' own pages."""
    return f"{round(count / _M, 1):g}M" if count >= _M else f"{round(count / _K)}k"
