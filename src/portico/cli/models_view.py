"""How models are listed: the default, the fallbacks and what the config names, or with `--all` everything that is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from portico.errors import ExitCode, UsageError
from portico.models.loader import ModelLoader
from portico.models.reference import ModelReference
from portico.onboarding.pending import finish_pending

if TYPE_CHECKING:
    from portico.cli.runtime import Runtime
    from portico.contracts import ModelSpec

_K: Final = 1000
_M: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class _Row:
    reference: ModelReference
    spec: ModelSpec | None
    available: bool
    local: bool
    tags: tuple[str, ...]


def show_models(rt: Runtime, *, everything: bool, plain: bool, provider: str | None) -> int:
    """Print the models.

    Raises:
        UsageError: `--json` with `--plain`; `unknown-provider`.
    """
    if plain and rt.out.is_json:
        raise UsageError("usage", "Choose either --json or --plain, not both.")
    finish_pending(rt)
    if provider is not None:
        _check_provider(provider, rt)
    rows = [row for row in _rows(rt, everything=everything) if provider in {None, row.reference.provider}]
    if rt.out.is_json:
        rt.out.json({"count": len(rows), "models": [_as_json(row) for row in rows]})
    elif plain:
        for row in rows:
            rt.out.line(str(row.reference))
    elif rows:
        rt.out.table(["Model", "Input", "Ctx", "Local", "Auth", "Price in/out", "Tags"], [_cells(row) for row in rows])
        for note in dict.fromkeys(f"{row.spec.id}: {row.spec.note}" for row in rows if row.spec and row.spec.note):
            rt.out.detail(note)
    else:
        rt.out.note(f"No models found. See {rt.program} models list --all")
    return ExitCode.OK


def _check_provider(provider: str, rt: Runtime) -> None:
    from difflib import get_close_matches

    from portico.models.catalog import Catalog
    from portico.onboarding.choices import switched_off

    off = switched_off(rt.plugins.records())
    known = Catalog(rt.config.config, rt.plugins.providers()).providers
    if provider in known:
        return
    if provider in off:
        hint: str | None = f"{{prog}} plugins enable {off[provider]}"
    else:
        near = next(iter(get_close_matches(provider, [*known, *off], n=1)), None)
        hint = f"Did you mean {near}?" if near else f"--provider {'|'.join(known)}"
    raise UsageError("unknown-provider", f"Unknown provider: {provider}", hint=hint)


def _rows(rt: Runtime, *, everything: bool) -> list[_Row]:
    loader = ModelLoader(rt.config.config, rt.plugins.providers(), rt.index.profiles(), rt.config.env)
    tags = _tags(loader, rt)
    for alias, reference in loader.catalog.aliases.items():
        if everything or reference in tags:
            tags.setdefault(reference, []).append(f"alias:{alias}")
    references = dict.fromkeys([*tags, *(loader.catalog.references() if everything else ())])
    return [_row(reference, tags.get(reference, []), loader) for reference in references]


def _tags(loader: ModelLoader, rt: Runtime) -> dict[ModelReference, list[str]]:
    agents = rt.config.config.agents
    named = [(agents.primary, "default")] if agents.primary else []
    named += [(text, f"fallback#{place}") for place, text in enumerate(agents.fallbacks, 1)]
    named += [(key, "configured") for key in agents.models]
    tags: dict[ModelReference, list[str]] = {}
    for text, tag in named:
        try:
            tags.setdefault(loader.catalog.expand(text), []).append(tag)
        except UsageError as error:
            rt.out.warn(f"{tag}: {error.message}")
    for provider_id, provider in rt.config.config.models.providers.items():
        for model in provider.models:
            tags.setdefault(ModelReference(provider_id, model.id), [])
    return tags


def _row(reference: ModelReference, tags: list[str], loader: ModelLoader) -> _Row:
    provider = loader.catalog.providers.get(reference.provider)
    spec = loader.catalog.find(reference)
    available = provider is not None and loader.has_credential(provider)
    base = loader.base_url(provider) if provider is not None else None
    missing = [] if spec is not None else ["missing"]
    return _Row(reference, spec, available, _is_local(base), (*tags, *missing))


def _is_local(url: str | None) -> bool:
    from portico.models.catalog import host_of

    host = host_of(url) if url else ""
    return host in {"localhost", "127.0.0.1", "0.0.0.0", "::1"} or host.endswith(".local")  # noqa: S104 - compared, not bound


def _cells(row: _Row) -> list[str]:
    spec = row.spec
    size = _tokens(spec.context_window) if spec is not None and spec.context_window else "-"
    price = f"${spec.cost.input:g}/${spec.cost.output:g}" if spec is not None and spec.cost is not None else "-"
    return [
        str(row.reference),
        "+".join(spec.input) if spec is not None else "-",
        size,
        "yes" if row.local else "no",
        "yes" if row.available else "no",
        price,
        ",".join(row.tags),
    ]


def _as_json(row: _Row) -> dict[str, object]:
    spec = row.spec
    return {
        "key": str(row.reference),
        "name": spec.name if spec is not None else str(row.reference),
        "input": "+".join(spec.input) if spec is not None else "-",
        "contextWindow": spec.context_window if spec is not None else None,
        "maxTokens": spec.max_tokens if spec is not None else None,
        "local": row.local if spec is not None else None,
        "available": row.available if spec is not None else None,
        "tags": list(row.tags),
        "missing": spec is None,
    }


def _tokens(count: int) -> str:
    """A number of tokens in a table's cell, in the decimal units of the providers' own pages."""
    return f"{round(count / _M, 1):g}M" if count >= _M else f"{round(count / _K)}k"
