"""`config validate`: every problem of every file that is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from portico.config.check import examined
from portico.config.document import MOST_SHOWN, ConfigFile, Problem, format_path, named
from portico.config.load import MODELS_FILE, read_corrections
from portico.config.sources import DOTENV, exposed, read_dotenv, read_stack
from portico.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from portico.cli.runtime import Runtime
    from portico.config.document import ConfigPath, Document
    from portico.config.schema import Config
    from portico.config.sources import Stack


def show_problems(rt: Runtime) -> int:
    """Print every problem of the files; the exit code says whether one is an error."""
    rt.refuse_missing_config()
    config = rt.paths.config
    document = ConfigFile(config, rt.paths.locks).load()
    files = checked(document)
    others = [*files.stack.others, *(path for path in (config.parent / MODELS_FILE, config.parent / DOTENV) if path.exists())]
    problems = [*problems_of(rt, files), *misfit_problems(rt, files), *_beside(config.parent)]
    problems += exposed((config, *others))
    errors = sum(problem.level == "error" for problem in problems)
    if rt.out.is_json:
        listed = [problem.as_json() for problem in problems]
        rt.out.json({"path": str(config), "valid": not errors, "files": [*map(str, others)], "problems": listed})
        return ExitCode.CONFIG if errors else ExitCode.OK
    for line in _lines(problems, rt.program):
        rt.out.line(line)
    if not errors:
        missing = "" if config.exists() else " It does not exist, which is the same as an empty one."
        beside = f" So is what it rests on: {', '.join(map(str, others))}." if others else ""
        rt.out.line(f"{config} is valid.{missing}{beside}")
    return ExitCode.CONFIG if errors else ExitCode.OK


def _lines(problems: list[Problem], program: str) -> Iterator[str]:
    """The problems in the order of the text; of very many the first, errors before warnings."""
    shown = problems
    if len(problems) > MOST_SHOWN:
        shown = sorted(problems, key=lambda problem: problem.level != "error")[:MOST_SHOWN]
    yield from (f"{problem.level}: {problem}" for problem in shown)
    if len(problems) > len(shown):
        yield f"and {len(problems) - len(shown)} more: `{program} config validate --json` lists all"


@dataclass(frozen=True, slots=True)
class Checked:
    """What a document says together with the files that it leads to, and what is wrong in any of them."""

    stack: Stack
    config: Config
    problems: list[Problem]


def checked(document: Document) -> Checked:
    """Read and check the own file's text, what it includes, and its base."""
    stack = read_stack(document)
    return Checked(stack, *examined(stack))


def problems_of(rt: Runtime, files: Checked) -> list[Problem]:
    """What is wrong in the files; plugins' own settings are looked at too."""
    from portico.plugins.manager import entry_problems

    entries = entry_problems(files.stack.effective, files.config.plugins, paths=rt.paths, env=rt.env)
    return [*files.problems, *entries]


def misfit_problems(rt: Runtime, files: Checked) -> Iterator[Problem]:
    """The base URLs that do not fit their provider's `api`, as far as plugins that are on know it.

    Two keys make up such a problem, of which an edit may change one after the other.
    """
    effective, config = files.stack.effective, files.config
    if all(provider.base_url is None for provider in config.models.providers.values()):
        return
    from portico.models.endpoints import misfits
    from portico.plugins.manager import PluginHost

    specs = PluginHost(config.plugins, paths=rt.paths, env=rt.env).providers()
    for block, found in misfits(config, specs):
        path: ConfigPath = (*block, "baseUrl")
        origin, message = effective.origin(path), f"{named(path)} {found.message}"
        if found.is_certain:
            yield Problem("error", str(origin), path, message, f"write {found.instead}", origin.layer, only=format_path(block))
        else:
            hint = f"write {found.key}: {found.instead}, if nothing answers there"
            yield Problem("warning", str(origin), path, message, hint, origin.layer, standing=True)


def _beside(folder: Path) -> tuple[Problem, ...]:
    return (*read_corrections(folder)[1], *read_dotenv(folder)[1])
