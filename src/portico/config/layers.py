"""The configuration that a command runs with."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from portico.config.check import check, in_order_of
from portico.config.corrections import NAME, read_corrections
from portico.config.dotenv import NAME as DOTENV
from portico.config.dotenv import read_dotenv
from portico.config.environment import with_defaults
from portico.config.file import ConfigFile
from portico.config.problem import invalid, refuse_errors
from portico.config.reading import exposed
from portico.config.stack import read_stack
from portico.errors import ConfigError
from portico.store.passphrase import FILE_ENV

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from portico.config.document import Document
    from portico.config.effective import Effective
    from portico.config.problem import Problem
    from portico.config.schema import Config, ModelConfig
    from portico.config.stack import Stack
    from portico.paths import Paths

# Who chooses the authorities that are trusted can be any server, to which tokens then go.
_NAMES_OF_FILES: Final = (FILE_ENV, "SSL_CERT_FILE")
# OpenSSL takes several folders, as in PATH (SSL_CTX_load_verify_locations(3)).
_NAMES_OF_FOLDERS: Final = "SSL_CERT_DIR"


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """A configuration that can be used.

    Attributes:
        config: what it says, in the program's words.
        document: the own file's text, which edits change.
        file: the own file.
        effective: the value that counts at each path, and the file and line that it comes from.
        problems: its warnings, those of every file that was read; `told_each_time` are those for every command.
        env: the environment that `${VAR}` is resolved in: the process's, then `.env` beside the file, then the file's `env`; and
            behind them the base's two in the same order.
        corrections: what `models.json` beside the file says of a model, by provider and model id.
        base: the file named by `base`, None where none is.
        sources: every file that was read, or would have been were it there: when one changes, this is out of date.
        fault: why the base or `models.json` cannot be used. `config` and `corrections` are then what the other files say:
            enough to list plugins or to sign out, but not to choose a model by.
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
    def told_each_time(self) -> tuple[Problem, ...]:
        """The warnings that every command begins with; `config validate` and `doctor` have all."""
        return tuple(problem for problem in self.problems if not problem.standing)

    def edit_base(self, change: Callable[[Document], Document], *, private: bool = False) -> bool:
        """As `ConfigFile.edit`, on the base; what OpenClaw's strict schema would refuse is refused here.

        Raises:
            ConfigError: there is no base (`no-base`), or as `ConfigFile.edit`; `config-not-openclaw` names what OpenClaw would
                refuse.
        """
        from portico.config.base_edit import checked_for_openclaw

        if self.base is None:
            hint = "`{prog} config set base ~/.openclaw/openclaw.json` names one"
            raise ConfigError("no-base", f"{self.file.path} names no base", hint=hint)
        if not self.base.path.exists():
            raise ConfigError("no-base", f"there is no {self.base.path}, which {self.file.path} names as its base")
        return self.base.edit(lambda document: checked_for_openclaw(document, change(document)), private=private)


def load_config(paths: Paths, env: Mapping[str, str] | None = None) -> LoadedConfig:
    """Read and check the configuration; one that does not exist is empty.

    An error in the base or in `models.json` is kept as the `fault` of what is returned: those who need either have to raise it.

    Raises:
        ConfigError: the own file cannot be read, or cannot be used as it stands (`config-invalid`, naming every error in it).
    """
    file = ConfigFile(paths.config, paths.locks)
    document = file.load()
    stack = read_stack(document)
    config, problems = examined(stack)
    refuse_errors(document.name, (problem for problem in problems if problem.is_fatal and problem.layer == "own"))
    corrections, doubts = read_corrections(paths.config.parent)
    in_base = [problem for problem in problems if problem.is_fatal]
    if in_base:
        stack = replace(stack, effective=stack.own, base=None)
        config, problems = examined(stack)
    in_models = [doubt for doubt in doubts if doubt.is_fatal]
    fault = invalid(" and ".join(["the base"] * bool(in_base) + [NAME] * bool(in_models)), (*in_base, *in_models))
    merged, remarks = _environment(stack, config, paths.config.parent, os.environ if env is None else env)
    sources = (paths.config, *stack.others, *_beside(paths.config, stack.base_path))
    # First, since of many warnings not all are shown.
    modes = exposed(guarded(sources, paths, os.environ if env is None else env))
    warnings = (*modes, *(_lenient(each) for each in (*problems, *doubts) if not each.is_fatal), *remarks)
    base = ConfigFile(stack.base_path, paths.locks) if stack.base_path is not None else None
    return LoadedConfig(config, document, file, stack.effective, warnings, merged, corrections, base, fault, sources)


def guarded(sources: Iterable[Path], paths: Paths, env: Mapping[str, str]) -> tuple[Path, ...]:
    """What another user must not be able to replace: the configuration's files, the state folder, what variables name."""
    named = [env.get(name) for name in _NAMES_OF_FILES]
    named += env.get(_NAMES_OF_FOLDERS, "").split(os.pathsep)
    return (*sources, paths.state, *(Path(each) for each in named if each))


def examined(stack: Stack) -> tuple[Config, list[Problem]]:
    """What the files say together, and all that is wrong in any of them."""
    config, problems = check(stack.effective)
    return config, sorted((*problems, *stack.problems), key=in_order_of(stack.own.document.name))


def _beside(config: Path, base: Path | None) -> tuple[Path, ...]:
    """The files that are read without being named, and the base, which may be named and missing."""
    more = () if base is None else (base, base.parent / DOTENV)
    return (config.parent / NAME, config.parent / DOTENV, *more)


def _lenient(problem: Problem) -> Problem:
    if problem.level == "warning":
        return problem
    unused = f"the plugin {problem.plugin}" if problem.plugin is not None else f"`{problem.only}`"
    return replace(problem, level="warning", message=f"{problem.message}; {unused} is not used")


def _environment(
    stack: Stack, config: Config, folder: Path, process: Mapping[str, str]
) -> tuple[Mapping[str, str], tuple[Problem, ...]]:
    """The process's variables, then those beside and in the own file, then those beside and in the base."""
    own, remarks = read_dotenv(folder)
    stated = {name: value for name, value in config.env.items() if _is_own(stack.effective, name)}
    found = with_defaults(process, with_defaults(own, stated))
    if stack.base_path is None or stack.base is None:
        return found, remarks
    behind, more = read_dotenv(stack.base_path.parent, "base") if stack.base_path.parent != folder else ({}, ())
    return with_defaults(found, with_defaults(behind, config.env)), (*remarks, *more)


def _is_own(effective: Effective, name: str) -> bool:
    places = (("env", name), ("env", "vars", name))
    return any(effective.has(path) and effective.origin(path).layer == "own" for path in places)
