"""The config that a command runs with: all its files, read and checked, with `models.json` and the variables beside them.

Places of the config may name a profile, an alias or a model; what is deleted is taken out of them as well.
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
# A file that chooses the trusted authorities can make its author pose as any server that tokens are sent to.
_NAMES_OF_FILES: Final = (SECRET_VARIABLES[0], "SSL_CERT_FILE")
# OpenSSL takes several folders, as in PATH (SSL_CTX_load_verify_locations(3)).
_NAMES_OF_FOLDERS: Final = "SSL_CERT_DIR"


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """A config that can be used.

    Attributes:
        config: its values.
        document: the own file's document, which edits change.
        file: the own file.
        effective: the effective value at each path, and the file and line that it comes from.
        problems: the warnings of every file that was read; `shown_warnings` are those that every command shows.
        env: the environment that `${VAR}` is resolved in: the process's, then `.env` beside the file, then the file's `env`; and
            behind them the base's two in the same order.
        corrections: the models of `models.json` beside the file, by provider and model id.
        base: the file that `base` names, None if there is none.
        sources: every file that was read, or would be if it existed: when one changes, this is out of date.
        fault: why the base or `models.json` cannot be used. `config` and `corrections` are then made of the other files, which
            is enough to list plugins or to sign out, but not to choose a model.
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
        """The warnings that every command shows first; `config validate` and `doctor` show all."""
        return tuple(problem for problem in self.problems if not problem.standing)

    def edit_base(self, change: Callable[[Document], Document], *, private: bool = False) -> bool:
        """Edit the base as `ConfigFile.edit` does, unless OpenClaw's strict schema would refuse the result.

        Raises:
            ConfigError: there is no base (`config-not-found`), OpenClaw would refuse it (`config-elsewhere`, naming what), or
                as `ConfigFile.edit`.
        """
        if self.base is None:
            hint = "`{prog} config set base ~/.openclaw/openclaw.json` names one"
            raise ConfigNotFound(f"{self.file.path} names no base", hint=hint)
        if not self.base.path.exists():
            raise ConfigNotFound(f"there is no {self.base.path}, which {self.file.path} names as its base")
        return self.base.edit(lambda document: checked_for_openclaw(document, change(document)), private=private)


def load_config(paths: Paths, env: Mapping[str, str] | None = None) -> LoadedConfig:
    """Read and check the config; one that does not exist is empty.

    Raises:
        ConfigError: as `checked`, or the own file cannot be read.
    """
    file = ConfigFile(paths.config, paths.locks)
    file.load()
    return checked(file, paths, env)


def checked(file: ConfigFile, paths: Paths, env: Mapping[str, str] | None = None) -> LoadedConfig:
    """The config with the own file as it was last read or written here; what it names is read now.

    An error in the base or in `models.json` becomes the `fault` of the result: a caller that needs either has to raise it.

    Raises:
        ConfigError: the own file cannot be used as it stands (`config-invalid`, naming every error in it).
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
    fault = invalid_error(
        " and ".join(["the base"] * bool(base_errors) + [MODELS_FILE] * bool(models_errors)), (*base_errors, *models_errors)
    )
    merged, env_problems = _environment(stack, config, paths.config.parent, os.environ if env is None else env)
    sources = (paths.config, *stack.others, *_implicit_files(paths.config, stack.base_path))
    # First, because only the first of many warnings are shown.
    exposure_warnings = exposed_files(protected_paths(sources, paths, os.environ if env is None else env))
    warnings = (
        *exposure_warnings,
        *(_as_warning(each) for each in (*problems, *correction_problems) if not each.is_fatal),
        *env_problems,
    )
    base = ConfigFile(stack.base_path, paths.locks) if stack.base_path is not None else None
    return LoadedConfig(config, document, file, stack.effective, warnings, merged, corrections, base, fault, sources)


def protected_paths(sources: Iterable[Path], paths: Paths, env: Mapping[str, str]) -> tuple[Path, ...]:
    """The files and folders that another user must not be able to replace: the config's, the state folder, those of variables."""
    variable_values = [env.get(name) for name in _NAMES_OF_FILES]
    variable_values += env.get(_NAMES_OF_FOLDERS, "").split(os.pathsep)
    return (*sources, paths.state, *(Path(each) for each in variable_values if each))


def _implicit_files(config: Path, base: Path | None) -> tuple[Path, ...]:
    """The files that are read though no file names them, and the base, which may not exist."""
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
    """The variables of the process, then those beside and in the own file, then those beside and in the base."""
    own, remarks = read_dotenv(folder)
    stated = {name: value for name, value in config.env.items() if _is_own(stack.effective, name)}
    found = with_defaults(process, with_defaults(own, stated))
    if stack.base_path is None or stack.base is None:
        return found, remarks
    behind, more = read_dotenv(stack.base_path.parent, "base") if stack.base_path.parent != folder else ({}, ())
    return with_defaults(found, with_defaults(behind, config.env)), (*remarks, *more)


def _is_own(effective: Effective, name: str) -> bool:
    paths = (("env", name), ("env", "vars", name))
    return any(effective.has(path) and effective.origin(path).layer == "own" for path in paths)


# --- models.json beside the config: prices and limits that correct the config and the built-ins ---------------------------------
#
# Its shape is OpenClaw's (https://docs.openclaw.ai/concepts/models): `{ "providers": { "<id>": { "models": [ ... ] } } }`.
# OpenClaw writes keys and URLs into its own; here they have no effect, so that no secret has to stand in the file.


def read_corrections(folder: Path) -> tuple[Mapping[tuple[str, str], ModelConfig], tuple[Problem, ...]]:
    """The models of `folder`'s `models.json`, by provider and model id, and what is wrong with it."""
    path = folder / MODELS_FILE
    try:
        document = read_document(path)
    except ConfigError as error:
        if error.where is not None:
            return {}, (Problem("error", error.where, (), error.message, error.hint),)
        return {}, (Problem("error", f"{path}:1:1", (), str(error), "make it a file that you can read, or move it away"),)
    if document is None:
        return {}, ()
    value = document.value()
    if not isinstance(value, dict) or "providers" not in value:
        return {}, (Problem("warning", f"{path}:1:1", (), "it has no `providers`, so nothing is read from it"),)
    fields, problems = read(CORRECTIONS, document)
    providers = fields.get("providers", {}) if fields is not None else {}
    return {(id, model.id): model for id, each in providers.items() for model in each.get("models", ())}, tuple(problems)


# --- edits of an OpenClaw file, which its strict schema must not refuse afterwards ----------------------------------------------


def checked_for_openclaw(before: Document, after: Document) -> Document:
    """`after`, if nothing that has changed since `before` would make OpenClaw refuse its file.

    Raises:
        ConfigError: it would (`config-elsewhere`, or `config-invalid` with every error that is new).
    """
    if after is before:
        return after
    old, new = read_alone(before), read_alone(after)
    known_problems = {_path_and_message(problem) for problem in check(old)[1]}
    new_problems = [problem for problem in check(new)[1] if _path_and_message(problem) not in known_problems]
    refuse_errors(f"{after.name} as it would be", new_problems)
    known_complaints = set(_complaints(old))
    complaints = [complaint for complaint in _complaints(new) if complaint not in known_complaints]
    complaints += [problem.message for problem in new_problems if "is not a key" in problem.message]
    if complaints:
        hint = "leave out `--write-base` to write it to Portico's own file"
        raise ConfigElsewhere(f"OpenClaw would refuse its file: {complaints[0]}", where=after.name, hint=hint)
    return after


def _path_and_message(problem: Problem) -> tuple[ConfigPath, str]:
    return problem.path, problem.message


def _complaints(base: Effective) -> Iterator[str]:
    yield from (f"{shown_path(path)} is a key of Portico's own" for path in portico_only_paths(base.value()))
    yield from (f"{shown_path(path)} needs `{name}` there" for path, name in missing_for_openclaw(base.value()))


ORDER: Final = ("auth", "order")
PROFILES: Final = ("auth", "profiles")
_MODEL: Final = ("agents", "defaults", "model")
_GATEWAY_MODELS: Final = ("gateway", "models")


def without_profile(document: Document, profile_id: str) -> Document:
    """`document` without the profile's own entry and without its place in any `auth.order`; an order left empty goes too."""
    if document.has((*PROFILES, profile_id)):
        document = document.unset((*PROFILES, profile_id))
    for provider, order in _entries(document, ORDER).items():
        if isinstance(order, list) and profile_id in order:
            others = [id for id in order if id != profile_id]
            path = (*ORDER, provider)
            document = document.set(path, others) if others else document.unset(path)
    return document


def profile_ids(document: Document) -> tuple[str, ...]:
    """The ids that one file's `auth.profiles` names."""
    return tuple(_entries(document, PROFILES))


def without_alias(document: Document, alias: str, reference: str) -> Document:
    """`document` in which the default, the fallbacks and `gateway.models` name `reference` instead of `alias` (case aside)."""
    for path, text in _model_names(document):
        if text.lower() == alias.lower():
            document = document.set(path, reference)
    return document


def model_names(config: Config) -> Iterator[tuple[ConfigPath, str]]:
    """Each place of the effective config that names a model by an alias or a reference, and the name."""
    agents = config.agents
    if agents.primary is not None:
        yield (*_MODEL, "primary"), agents.primary
    yield from (((*_MODEL, "fallbacks", number), text) for number, text in enumerate(agents.fallbacks))
    yield from (((*_GATEWAY_MODELS, name), text) for name, text in config.gateway.models.items())


def _model_names(document: Document) -> Iterator[tuple[ConfigPath, str]]:
    """As `model_names`, of what one file says; the default has a short form there."""
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
