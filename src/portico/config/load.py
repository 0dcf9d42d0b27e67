"""Load the config of a command: all its files, read and checked, with `models.json` and the `.env` variables beside them.

If a profile or an alias is deleted, this module also removes its references from the config.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from portico.config.check import check, check_stack, read
from portico.config.document import (
    ConfigFile,
    ConfigNotFound,
    Problem,
    invalid_error,
    read_document,
    refuse_errors,
    shown_path,
)
from portico.config.json5 import ConfigElsewhere
from portico.config.schema import CORRECTIONS, missing_for_openclaw, portico_only_paths
from portico.config.sources import DOTENV, exposed_files, read_alone, read_dotenv, read_stack, with_defaults
from portico.errors import ConfigError
from portico.secret import SECRET_VARIABLES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from portico.config.document import ConfigPath, Document
    from portico.config.schema import Config, ModelConfig
    from portico.config.sources import Effective, Stack
    from portico.paths import Paths

MODELS_FILE: Final = "models.json"
# A user who can write the trusted CA certificates can impersonate any server that receives tokens.
_FILE_VARIABLES: Final = (SECRET_VARIABLES[0], "SSL_CERT_FILE")
# OpenSSL takes several folders, as in PATH (SSL_CTX_load_verify_locations(3)).
_FOLDERS_VARIABLE: Final = "SSL_CERT_DIR"


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """A config that can be used.

    Attributes:
        config: its values.
        document: the document of the config file, which edits change.
        file: the config file.
        effective: the effective value at each path, with its file and line.
        problems: the warnings of all files; `shown_warnings` are the warnings that every command shows.
        env: the environment for `${VAR}`: the variables of the process, then `.env` beside the file, then `env` in the file, then
        `.env` and `env` of the base.
        corrections: the models of `models.json` beside the file, by provider and model id.
        base: the file that `base` names, or None.
        sources: every file that was read, or would be read if it existed. If such a file changes, this object is out of date.
        fault: why the base or `models.json` cannot be used. `config` and `corrections` then come from the other files: enough
            to list plugins or to sign out, but not to choose a model.
    """

    config: Config
    document: Document
    file: ConfigFile
    effective: Effective
    problems: tuple[Problem, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    corrections: Mapping[tuple[str, str], ModelConfig] = field(default_factory=dict)
    base: ConfigFile | None = None
    fault: ConfigError | None = None
    sources: tuple[Path, ...] = ()

    @property
    def shown_warnings(self) -> tuple[Problem, ...]:
        """The warnings that every command shows; `config validate` and `doctor` show all problems."""
        return tuple(problem for problem in self.problems if not problem.standing)

    def edit_base(self, change: Callable[[Document], Document], *, private: bool = False) -> bool:
        """Edit the base as `ConfigFile.edit` does, unless OpenClaw's strict schema would refuse the result.

        Raises:
            ConfigNotFound: there is no base.
            ConfigElsewhere: OpenClaw would refuse the result.
            ConfigError, LockBusy: as `ConfigFile.edit`.
        """
        if self.base is None:
            hint = "set a base: `{prog} config set base ~/.openclaw/openclaw.json`"
            raise ConfigNotFound(f"{self.file.path} names no base.", hint=hint)
        if not self.base.path.exists():
            raise ConfigNotFound(f"There is no {self.base.path}, which {self.file.path} names as its base.")
        return self.base.edit(lambda document: checked_for_openclaw(document, change(document)), private=private)


def load_config(paths: Paths, env: Mapping[str, str] | None = None) -> LoadedConfig:
    """Read and check the config; a file that does not exist is empty.

    Raises:
        ConfigError: as `checked`, or the config file cannot be read.
    """
    file = ConfigFile(paths.config, paths.locks)
    file.load()
    return checked(file, paths, env)


def checked(file: ConfigFile, paths: Paths, env: Mapping[str, str] | None = None) -> LoadedConfig:
    """Check the config with the latest document of `file`, and read the files that it names.

    An error in the base or in `models.json` becomes the `fault` of the result: a caller that needs the base or `models.json` must
    raise this error.

    Raises:
        InvalidConfig: the config file has errors; the error names all of them.
    """
    document = file.latest
    stack = read_stack(document)
    config, problems = check_stack(stack)
    refuse_errors(document.name, (problem for problem in problems if problem.is_fatal and problem.layer == "own"))
    corrections, correction_problems = read_corrections(paths.config.parent)
    base_errors = [problem for problem in problems if problem.is_fatal]
    if base_errors:
        stack = replace(stack, effective=stack.own, base=None)
        config, problems = check_stack(stack)
    models_errors = [problem for problem in correction_problems if problem.is_fatal]
    faulty_files = " and ".join(["the base"] * bool(base_errors) + [MODELS_FILE] * bool(models_errors))
    fault = invalid_error(faulty_files, (*base_errors, *models_errors))
    env = os.environ if env is None else env
    merged, env_problems = _environment(stack, config, paths.config.parent, env)
    sources = (paths.config, *stack.others, *_implicit_files(paths.config, stack.base_path))
    warnings = (
        *exposed_files(protected_paths(sources, paths, env)),  # first, because only the first of many warnings are shown
        *(_as_warning(each) for each in (*problems, *correction_problems) if not each.is_fatal),
        *env_problems,
    )
    base = ConfigFile(stack.base_path, paths.locks) if stack.base_path is not None else None
    return LoadedConfig(config, document, file, stack.effective, warnings, merged, corrections, base, fault, sources)


def protected_paths(sources: Iterable[Path], paths: Paths, env: Mapping[str, str]) -> tuple[Path, ...]:
    """Return the paths that no other user may replace: the config files, the state folder, and paths in variables."""
    variable_values = [env.get(name) for name in _FILE_VARIABLES]
    variable_values += env.get(_FOLDERS_VARIABLE, "").split(os.pathsep)
    return (*sources, paths.state, *(Path(each) for each in variable_values if each))


def _implicit_files(config: Path, base: Path | None) -> tuple[Path, ...]:
    """Return the base, which may not exist, and the files that are read although no file names them."""
    more = () if base is None else (base, base.parent / DOTENV)
    return (config.parent / MODELS_FILE, config.parent / DOTENV, *more)


def _as_warning(problem: Problem) -> Problem:
    if problem.level == "warning":
        return problem
    unused = f"the plugin {problem.plugin}" if problem.plugin is not None else f"`{problem.only}`"
    return replace(problem, level="warning", message=f"{problem.message}; {unused} is not used")


def _environment(
    stack: Stack, config: Config, folder: Path, process: Mapping[str, str]
) -> tuple[Mapping[str, str], tuple[Problem, ...]]:
    """Merge the variables of the process, and of `.env` and `env` of the config file and of the base."""
    dotenv, problems = read_dotenv(folder)
    own_env = {name: value for name, value in config.env.items() if _is_own(stack.effective, name)}
    merged = with_defaults(process, with_defaults(dotenv, own_env))
    if stack.base_path is None or stack.base is None:
        return merged, problems
    base_dotenv, base_problems = read_dotenv(stack.base_path.parent, "base") if stack.base_path.parent != folder else ({}, ())
    return with_defaults(merged, with_defaults(base_dotenv, config.env)), (*problems, *base_problems)


def _is_own(effective: Effective, name: str) -> bool:
    return any(effective.has(path) and effective.origin(path).layer == "own" for path in (("env", name), ("env", "vars", name)))


# --- models.json beside the config: prices and limits that correct the config and the built-ins ---------------------------------
#
# Its shape is OpenClaw's (https://docs.openclaw.ai/concepts/models): `{ "providers": { "<id>": { "models": [ ... ] } } }`.
# OpenClaw also writes keys and URLs into its file; Portico ignores them, so the file needs no secret.


def read_corrections(folder: Path) -> tuple[Mapping[tuple[str, str], ModelConfig], tuple[Problem, ...]]:
    """Return the models of `models.json` in `folder`, by provider and model id, and the problems of the file."""
    path = folder / MODELS_FILE
    try:
        document = read_document(path)
    except ConfigError as error:
        if error.where is not None:
            return {}, (Problem("error", error.where, (), error.message, error.hint),)
        message = f"could not read this file: {error.why}"
        return {}, (Problem("error", f"{path}:1:1", (), message, "make it a file that you can read, or move it away"),)
    if document is None:
        return {}, ()
    value = document.value()
    if not isinstance(value, dict) or "providers" not in value:
        return {}, (Problem("warning", f"{path}:1:1", (), "it has no `providers`, so Portico ignores it"),)
    fields, problems = read(CORRECTIONS, document)
    providers = fields.get("providers", {}) if fields is not None else {}
    return {(id, model.id): model for id, each in providers.items() for model in each.get("models", ())}, tuple(problems)


# --- edits of an OpenClaw file: its strict schema must still accept the file ----------------------------------------------------


def checked_for_openclaw(before: Document, after: Document) -> Document:
    """Return `after` if OpenClaw still accepts the differences between `before` and `after`.

    Raises:
        ConfigElsewhere: OpenClaw would refuse it.
        InvalidConfig: the change has errors; the error names all of them.
    """
    if after is before:
        return after
    old, new = read_alone(before), read_alone(after)
    known_problems = {(problem.path, problem.message) for problem in check(old)[1]}
    new_problems = [problem for problem in check(new)[1] if (problem.path, problem.message) not in known_problems]
    refuse_errors(f"{after.name} as it would be", new_problems)
    known_complaints = set(_complaints(old))
    complaints = [complaint for complaint in _complaints(new) if complaint not in known_complaints]
    complaints += [problem.message for problem in new_problems if "is not a key" in problem.message]
    if complaints:
        hint = "leave out `--write-base` to write to Portico's own file"
        raise ConfigElsewhere(f"OpenClaw would refuse its file: {complaints[0]}.", where=after.name, hint=hint)
    return after


def _complaints(base: Effective) -> Iterator[str]:
    yield from (f"{shown_path(path)} is a key of Portico's own" for path in portico_only_paths(base.value()))
    yield from (f"{shown_path(path)} needs `{name}` there" for path, name in missing_for_openclaw(base.value()))


ORDER: Final = ("auth", "order")
PROFILES: Final = ("auth", "profiles")
_MODEL: Final = ("agents", "defaults", "model")
_GATEWAY_MODELS: Final = ("gateway", "models")


def without_profile(document: Document, profile_id: str) -> Document:
    """Remove a profile from `auth.profiles` and from each `auth.order`; an order that becomes empty is removed too."""
    if document.has((*PROFILES, profile_id)):
        document = document.unset((*PROFILES, profile_id))
    for provider, order in _entries(document, ORDER).items():
        if isinstance(order, list) and profile_id in order:
            others = [id for id in order if id != profile_id]
            path = (*ORDER, provider)
            document = document.set(path, others) if others else document.unset(path)
    return document


def profile_ids(document: Document) -> tuple[str, ...]:
    """Return the profile ids in `auth.profiles` of one file."""
    return tuple(_entries(document, PROFILES))


def without_alias(document: Document, alias: str, reference: str) -> Document:
    """Replace `alias`, in any case, with `reference` in the default model, the fallbacks and `gateway.models`."""
    for path, text in _model_names(document):
        if text.lower() == alias.lower():
            document = document.set(path, reference)
    return document


def model_names(config: Config) -> Iterator[tuple[ConfigPath, str]]:
    """Yield each model name in the effective config, an alias or a reference, with its path."""
    agents = config.agents
    if agents.primary is not None:
        yield (*_MODEL, "primary"), agents.primary
    yield from (((*_MODEL, "fallbacks", number), text) for number, text in enumerate(agents.fallbacks))
    yield from (((*_GATEWAY_MODELS, name), text) for name, text in config.gateway.models.items())


def _model_names(document: Document) -> Iterator[tuple[ConfigPath, str]]:
    """Yield the model names of one file, in which the default model also has a short form."""
    model = document.get(_MODEL) if document.has(_MODEL) else None
    if isinstance(model, str):
        yield _MODEL, model
    elif isinstance(model, dict):
        primary, fallbacks = model.get("primary"), model.get("fallbacks")
        if isinstance(primary, str):
            yield (*_MODEL, "primary"), primary
        for number, name in enumerate(fallbacks if isinstance(fallbacks, list) else []):
            if isinstance(name, str):
                yield (*_MODEL, "fallbacks", number), name
    for client_name, reference in _entries(document, _GATEWAY_MODELS).items():
        if isinstance(reference, str):
            yield (*_GATEWAY_MODELS, client_name), reference


def _entries(document: Document, path: ConfigPath) -> Mapping[str, object]:
    value = document.get(path) if document.has(path) else None
    return value if isinstance(value, dict) else {}
