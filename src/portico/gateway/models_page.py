"""`GET /v1/models`: one list in both vendors' shapes at once, since each client looks at the fields that it knows.

OpenAI's: https://platform.openai.com/docs/api-reference/models. Anthropic's: https://docs.claude.com/en/api/models-list.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from portico.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from portico.gateway.live_models import LiveModels
    from portico.models.callable import CallableModel

# Both shapes insist on a date, and no public source has one for every model.
_UNKNOWN: Final = "1970-01-01T00:00:00Z"


def model_list(models: LiveModels) -> dict[str, object]:
    """Every model that can be called now, by its reference, and the names that `gateway.models` and the aliases give them."""
    ready = {str(model.reference): model for model in models.ready()}
    entries = {name: _entry(name, model) for name, model in ready.items()}
    for alias, reference in models.loader.catalog.aliases.items():
        if str(reference) in ready:
            entries.setdefault(alias, _entry(alias, ready[str(reference)]))
    for name, text in models.names.items():
        with suppress(UsageError):  # a name of nothing is left out here, and is a finding of `doctor`
            model = ready.get(str(models.loader.catalog.expand(text))) if not name.endswith("*") else None
            if model is not None:
                entries[name] = _entry(name, model)
    data = [*entries.values()]
    ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {"first_id": None, "last_id": None}
    return {"object": "list", "data": data, "has_more": False, **ends}


def one_model(models: LiveModels, name: str) -> dict[str, object] | None:
    """The entry of one name; None if the list does not have it.

    Raises:
        SignInNeeded: it is a model of a provider that has no credential.
    """
    listed = model_list(models)["data"]
    assert isinstance(listed, list)  # noqa: S101 - made above
    found = next((entry for entry in listed if entry["id"] == name), None)
    if found is None:
        with suppress(UsageError, ConfigError):  # a name that means nothing
            models.loader.load(models.meant(name))
    return found


def _entry(name: str, model: CallableModel) -> dict[str, object]:
    return {
        "id": name,
        "object": "model",
        "type": "model",
        "created": 0,
        "created_at": _UNKNOWN,
        "owned_by": model.reference.provider,
        "display_name": model.spec.name,
    }
