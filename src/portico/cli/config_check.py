"""`config validate`: every problem of every file that is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portico.config.document import ConfigFile, format_path
from portico.config.environment import DOTENV, read_dotenv
from portico.config.load import MODELS_FILE, examined, read_corrections
from portico.config.problem import MOST_SHOWN, Problem, named
from portico.config.sources import exposed, read_stack
from portico.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from portico.cli.runtime import Runtime
    from portico.config.document import ConfigPath, Document


def show_problems(rt: Runtime) -> int:
    """Print every problem of the files; the exit code says whether one is an error."""
    rt.refuse_missing_config()
    config = rt.paths.config
    document = ConfigFile(config, rt.paths.locks).load()
    others = _others(rt, document)
    problems = [*problems_of(rt, document), *misfit_problems(rt, document), *_beside(config.parent)]
    problems += exposed((config, *others))
    errors = sum(problem.level == "error" for problem in problems)
    if rt.out.is_json:
        files = [str(path) for path in others]
        rt.out.json(
            {"path": str(config), "valid": not errors, "files": files, "problems": [problem.as_json() for problem in problems]}
        )
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


def problems_of(rt: Runtime, document: Document) -> list[Problem]:
    """What is wrong in the own file's text, in what it includes, and in its base; plugins' own settings are looked at too."""
    from portico.plugins.manager import entry_problems

    stack = read_stack(document)
    config, problems = examined(stack)
    return [*problems, *entry_problems(stack.effective, config.plugins, paths=rt.paths, env=rt.env)]


def misfit_problems(rt: Runtime, document: Document) -> Iterator[Problem]:
    """The base URLs that do not fit their provider's `api`, as far as plugins that are on know it.

    Two keys make up such a problem, of which an edit may change one after the other.
    """
    from portico.models.endpoints import misfits
    from portico.plugins.manager import PluginHost

    stack = read_stack(document)
    effective, (config, _) = stack.effective, examined(stack)
    if all(provider.base_url is None for provider in config.models.providers.values()):
        return
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


def _others(rt: Runtime, document: Document) -> list[Path]:
    """The files that are read besides the own one."""
    beside = [rt.paths.config.parent / name for name in (MODELS_FILE, DOTENV)]
    return [*read_stack(document).others, *(path for path in beside if path.exists())]
