"""`models set`: a default model that exists, in the spelling that its provider knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portico.errors import ExitCode
from portico.onboarding.default_model import MODEL, with_default

if TYPE_CHECKING:
    from portico.cli.runtime import Runtime


def set_default(text: str, rt: Runtime, *, write_base: bool = False) -> int:
    """Make `text` the default model; fallbacks stay. `write_base` writes it into the OpenClaw file that `base` names.

    Raises:
        UsageError: `unknown-model`, with what was probably meant.
        ConfigError: `no-base`; the file cannot be written.
    """
    from portico.models.catalog import retired
    from portico.onboarding.model_names import known_model
    from portico.onboarding.pending import finish_pending

    finish_pending(rt)
    reference = str(known_model(text, rt.models()))
    loaded = rt.config
    edit, path = (loaded.edit_base, loaded.base) if write_base else (loaded.file.edit, loaded.file)
    # OpenClaw takes any entry for a list of what is allowed.
    listed = write_base or rt.models().catalog.allowed is not None
    changed = edit(lambda document: with_default(document, reference, listed=listed))
    written = path.path if path is not None else rt.paths.config
    counts = rt.reload_config().config.agents.primary
    if rt.out.is_json:
        rt.out.json({"defaultModel": reference, "config": str(written), "changed": changed, "counts": counts == reference})
        return ExitCode.OK
    if changed:
        rt.out.note(f"Updated {written}")
    rt.out.line(f"Default model: {reference}")
    spec = rt.models().catalog.find(rt.models().catalog.expand(reference))
    if spec is not None and (told := retired(spec)) is not None:
        rt.out.warn(told)
    if counts != reference:
        rt.out.warn(f"{rt.paths.config} names {counts}, which comes before it. To go by it: {_out_of_the_way(rt)}")
    return ExitCode.OK


def _out_of_the_way(rt: Runtime) -> str:
    """What takes the own default model away, which may have the short form, or stand in an included file."""
    document = rt.config.document
    primary = (*MODEL, "primary")
    if document.has(primary):
        return f"{rt.program} config unset agents.defaults.model.primary"
    if document.has(MODEL) and isinstance(document.get(MODEL), str):  # an object may hold the fallbacks alone
        return f"{rt.program} config unset agents.defaults.model"
    return f"take it out of {rt.config.effective.origin(primary)}"
