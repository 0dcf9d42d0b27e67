"""From a config to its values: one walk over the table of `config/schema.py` finds every problem, and the place of each.

A value of the wrong type is reported and read as if it were absent, so that one run finds everything. What a type cannot say is
checked by the rules at the end, which the table names.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from portico.config import openclaw
from portico.config.document import Problem, format_path, shown_path
from portico.config.schema import API_KINDS, FRAMING, TOP, AgentDefaults, Config, PluginEntry
from portico.config.sources import Effective, holds_reference
from portico.paths import UnknownHome, expand_home
from portico.secret import Secret
from portico.urls import endpoint_end, is_in_the_clear, normalised_base_url, why_not_a_base_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from portico.config.document import ConfigPath, Document
    from portico.config.schema import Key, Kind, Rule
    from portico.config.sources import Stack
    from portico.interfaces.basics import JsonValue

# RFC 9110 section 5.6.2: the name of a header.
_TOKEN: Final = re.compile(r"[!#$%&'*+.^`|~\w-]+", re.ASCII)
_LINE_BREAK: Final = re.compile(r"[\r\n\0]")
_NEAR_MISS: Final = 0.75
_NOT_EMPTY: Final = "must be a string that is not empty"
_NOT_READ: Final = "is not read here: keep secrets out of this file"


def check(source: Document | Effective) -> tuple[Config, list[Problem]]:
    """What `source` says, and all that is wrong with it, in the order of the text."""
    config, problems = read(TOP, source)
    return config if isinstance(config, Config) else Config(), problems


def read(key: Key, source: Document | Effective) -> tuple[Any, list[Problem]]:
    """What `key` makes of the whole of `source`, None if nothing; and all problems, in the order of the text."""
    effective = source if isinstance(source, Effective) else Effective(source)
    problems: list[Problem] = []
    section = Section(effective, problems, (), None)
    for path, origin in effective.hidden():
        message = f"{shown_path(path)} is written twice; the later one counts"
        problems.append(Problem("warning", str(origin), path, message, layer=origin.layer))
    value = _object(section, (), effective.value(), key)
    return value, sorted(problems, key=problem_order(effective.document.name))


def check_stack(stack: Stack) -> tuple[Config, list[Problem]]:
    """What the files say together, and all that is wrong in any of them."""
    config, problems = check(stack.effective)
    return config, sorted((*problems, *stack.problems), key=problem_order(stack.own.document.name))


def problem_order(name: str) -> Callable[[Problem], tuple[bool, bool, str, int, int]]:
    """The order of problems: the file called `name` first, then what it includes, then the base; by line and column."""

    def key(problem: Problem) -> tuple[bool, bool, str, int, int]:
        file, line, column = problem.where.rsplit(":", 2)
        return problem.layer == "base", file != name, file, int(line), int(column)

    return key


class Section:
    """An object or an array under check: where it stands, what it holds, and what is wrong in it.

    The methods take the steps from here to the value that they are about.
    """

    def __init__(self, source: Effective, problems: list[Problem], path: ConfigPath, value: JsonValue) -> None:
        self._source = source
        self._problems = problems
        self._problem_start = len(problems)
        self.path = path
        self.value = value

    def section_at(self, steps: ConfigPath, value: JsonValue) -> Section:
        """What is under check at `steps`, where `value` stands."""
        return Section(self._source, self._problems, (*self.path, *steps), value)

    def is_own(self, *steps: str | int) -> bool:
        """Whether Portico's own file, or one that it includes, says the value, and not the base alone."""
        return self._source.origin((*self.path, *steps)).layer == "own"

    def report_error(self, steps: ConfigPath, message: str, hint: str | None = None, *, of_key: bool = False) -> None:
        """Report that the value makes the config unusable."""
        self._report((*self.path, *steps), message, hint, of_key=of_key)

    def report_unusable(self, steps: ConfigPath, message: str, hint: str | None = None, *, alone: bool = False) -> str:
        """Report that this object cannot be used, or the value `alone`; nothing else is stopped. Returns the report's text."""
        path = (*self.path, *steps)
        return self._report(path, message, hint, only=format_path(path if alone else self.path))

    def report_warning(
        self, steps: ConfigPath, message: str, hint: str | None = None, *, of_key: bool = False, standing: bool = False
    ) -> None:
        """Report that the value has less effect than it seems to; `standing` is that of `Problem`."""
        path = (*self.path, *steps)
        origin = self._source.origin(path, of_key=of_key)
        message = f"{shown_path(path)} {message}"
        self._problems.append(Problem("warning", str(origin), path, message, hint, origin.layer, standing=standing))

    def assign_to_plugins(self) -> list[Problem]:
        """Make each problem below this map of plugins one that stops its plugin alone; all of them."""
        plugin_problems = self._problems[self._problem_start :]
        plugin_problems = [replace(problem, plugin=str(problem.path[len(self.path)])) for problem in plugin_problems]
        self._problems[self._problem_start :] = plugin_problems
        return plugin_problems

    def _report(self, path: ConfigPath, message: str, hint: str | None, *, of_key: bool = False, only: str | None = None) -> str:
        origin = self._source.origin(path, of_key=of_key)
        problem = Problem("error", str(origin), path, f"{shown_path(path)} {message}", hint, origin.layer, only=only)
        self._problems.append(problem)
        return str(problem)


# --- the walk: each function reads one kind of value, which stands at `steps` of a section; None if it cannot be used ----------


def _read_member(section: Section, name: str, value: JsonValue, key: Key) -> Any:
    """The value of a key of an object or of a map."""
    if value is None and key.kind != "any":
        section.report_error((name,), "must not be null", "leave the key out")
        return None
    return _READERS[key.kind](section, (name,), value, key)


def _object(section: Section, steps: ConfigPath, value: JsonValue, key: Key) -> Any:
    if key.or_text and isinstance(value, str):
        return _text(section, steps, value, key)
    if not isinstance(value, dict):
        section.report_error(steps, "must be an object")
        return None
    if not key.keys:
        return value
    inner_section = section.section_at(steps, value)
    fields: dict[str, Any] = {}
    complete = True
    for name, inner_key in key.keys.items():
        if name in value:
            item = _read_member(inner_section, name, value[name], inner_key)
            if item is not None:
                fields[_field(name)] = item
        elif inner_key.required:
            inner_section.report_error((), f"needs `{name}`")
        complete = complete and (not inner_key.required or _field(name) in fields)
    if len(fields) < len(value):
        _report_unknown(inner_section, value, key)
    result = _RULES[key.rule](inner_section, fields) if key.rule else fields
    if result is None or not complete:
        return None
    return key.factory(**result) if key.factory else result


def _map(section: Section, steps: ConfigPath, value: JsonValue, key: Key) -> Any:
    if not isinstance(value, dict):
        section.report_error(steps, "must be an object")
        return None
    inner_section = section.section_at(steps, value)
    items: dict[str, Any] = {}
    for name, each in value.items():
        inner_key = key.keys.get(name, key.of)
        item = _read_member(inner_section, name, each, inner_key) if inner_key is not None else each
        if item is not None:
            items[name] = item
    return _RULES[key.rule](inner_section, items) if key.rule else items


def _array(section: Section, steps: ConfigPath, value: JsonValue, key: Key) -> Any:
    if not isinstance(value, list) or key.of is None:
        section.report_error(steps, "must be an array of objects")
        return None
    inner_section = section.section_at(steps, value)
    items = {}
    for index, each in enumerate(value):
        item = _READERS[key.of.kind](inner_section, (index,), each, key.of)
        if item is not None:
            items[index] = item
    return _RULES[key.rule](inner_section, items) if key.rule else tuple(items.values())


def _text(section: Section, steps: ConfigPath, value: JsonValue, key: Key) -> str | None:
    if key.words:
        return _word(section, steps, value, key)
    if isinstance(value, str) and value.strip():
        return value
    section.report_error(steps, _NOT_EMPTY)
    return None


def _word(section: Section, steps: ConfigPath, value: JsonValue, key: Key) -> str | None:
    if isinstance(value, str) and value in key.words:
        return value
    if isinstance(value, str) and key.openclaw_words and _is_foreign(section, steps, value, key.openclaw_words):
        return None
    near = nearest(value, key.words) if isinstance(value, str) else None
    choices = " or ".join(f'"{word}"' for word in key.words)
    section.report_error(steps, f"must be {choices}", f"did you mean `{near}`?" if near else None)
    return None


def _is_foreign(section: Section, steps: ConfigPath, word: str, foreign: Sequence[str]) -> bool:
    """Whether OpenClaw alone understands `word`: a base that it reads may name what came later."""
    return word in foreign or not section.is_own(*steps)


def _string(section: Section, steps: ConfigPath, value: JsonValue, key: Key) -> str | None:
    """A text; an empty one is as good as none."""
    return None if value == "" else _text(section, steps, value, key)


def _secret(section: Section, steps: ConfigPath, value: JsonValue, key: Key) -> Secret | None:
    """A secret as it is written; of OpenClaw's references to secrets, those to the environment become `${VAR}`."""
    if isinstance(value, dict):
        name = value.get("id")
        if value.get("source") == "env" and isinstance(name, str):
            return Secret(f"${{{name}}}")
        section.report_warning(steps, "is a reference that only OpenClaw follows; it is not used")
        return None
    text = _text(section, steps, value, key)
    return Secret(text) if text is not None else None


def _flag(section: Section, steps: ConfigPath, value: JsonValue, _key: Key) -> bool | None:
    if isinstance(value, bool):
        return value
    section.report_error(steps, "must be true or false")
    return None


def _whole(section: Section, steps: ConfigPath, value: JsonValue, key: Key) -> int | None:
    low, high = key.minimum, key.maximum
    is_whole = isinstance(value, (int, float)) and not isinstance(value, bool) and value % 1 == 0
    if is_whole and isinstance(value, (int, float)) and low <= value and (high is None or value <= high):
        return int(value)
    section.report_error(steps, f"must be a whole number of {low} or more" if high is None else f"must be {low}-{high}")
    return None


def _non_negative(section: Section, steps: ConfigPath, value: JsonValue, _key: Key) -> float | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < float("inf"):
        return value
    section.report_error(steps, "must be a number that is not negative")
    return None


def _texts(section: Section, steps: ConfigPath, value: JsonValue, key: Key) -> Any:
    if not isinstance(value, list):
        section.report_error(steps, "must be an array of strings")
        return None
    for index, each in enumerate(value):
        if not isinstance(each, str) or not each.strip():
            section.report_error((*steps, index), _NOT_EMPTY)
    texts = tuple(each for each in value if isinstance(each, str) and each.strip())
    return _RULES[key.rule](section.section_at(steps, value), texts) if key.rule else texts


def _any(_section: Section, _steps: ConfigPath, value: JsonValue, _key: Key) -> JsonValue:
    return value


_READERS: Final[dict[Kind, Callable[[Section, ConfigPath, JsonValue, Key], Any]]] = {
    "text": _text,
    "string": _string,
    "secret": _secret,
    "flag": _flag,
    "whole": _whole,
    "amount": _non_negative,
    "texts": _texts,
    "object": _object,
    "map": _map,
    "array": _array,
    "any": _any,
}


def _report_unknown(section: Section, members: dict[str, JsonValue], key: Key) -> None:
    """Report the keys of an object that the table does not have: as errors where a known key was meant, else as warnings.

    In a base, whose every key means something to the OpenClaw that wrote it, a near miss is no more than a warning, and an
    unknown section of the whole file is not reported at all.
    """
    for name in members:
        if name in key.keys or name in key.openclaw_keys:
            continue
        is_own = section.is_own(name)
        near = nearest(name, key.keys)
        hint = f"did you mean `{near}`?" if near else None
        if near and is_own:
            section.report_error((name,), "is not a key that Portico knows", hint, of_key=True)
        elif is_own or near or section.path:
            section.report_warning((name,), "is not a key that Portico knows; it has no effect", hint, of_key=True)


def nearest(word: str, words: Iterable[str]) -> str | None:
    """The one of `words` that was probably meant, None where none is near."""
    import difflib

    by_folded = {_folded(candidate): candidate for candidate in words}
    matches = difflib.get_close_matches(_folded(word), by_folded, n=1, cutoff=_NEAR_MISS)
    return by_folded[matches[0]] if matches else None


def _folded(word: str) -> str:
    return word.lower().replace("_", "").replace("-", "")


@cache
def _field(name: str) -> str:
    """The field of a class that holds the key `name`: `base_url` for `baseUrl`."""
    return re.sub(r"(?<!^)([A-Z])", r"_\1", name).lower()


# --- the rules: each gets what has been read at its section, and returns it as it is used; None leaves it out -----------------


def _config(_section: Section, fields: dict[str, Any]) -> dict[str, Any]:
    fields["history"] = fields.get("history") != "off"
    fields["agents"] = fields.get("agents", {}).get("defaults", AgentDefaults())
    return fields


def _variables(section: Section, entries: dict[str, Any]) -> dict[str, str]:
    """Both forms; a variable that the base has in the one form gives way to the own file's in the other."""
    entries.pop("shellEnv", None)
    variables: dict[str, str] = entries.pop("vars", {})
    for name, text in entries.items():
        if name not in variables or section.is_own(name) or not section.is_own("vars", name):
            variables[name] = text
    return variables


def _profile(_section: Section, fields: dict[str, Any]) -> dict[str, Any] | None:
    return fields if fields.keys() >= {"provider", "mode"} else None


def _defaults(_section: Section, fields: dict[str, Any]) -> dict[str, Any]:
    model = fields.pop("model", {})
    return {**fields, **({"primary": model} if isinstance(model, str) else model)}


def _plugins(_section: Section, fields: dict[str, Any]) -> dict[str, Any]:
    load = fields.pop("load", {})
    return {**fields, "load_paths": load.get("paths", ())}


def _folders(section: Section, folders: tuple[str, ...]) -> tuple[str, ...]:
    for index, path in enumerate(folders):
        try:
            expand_home(path, "the path")
        except UnknownHome as error:
            section.report_warning((index,), f"{error.fault}: no plugin is looked for there", error.hint)
    return folders


def _entries(section: Section, entries: dict[str, PluginEntry]) -> dict[str, PluginEntry]:
    """What is wrong with an entry keeps its own plugin from being used and stops nothing else."""
    errors = [problem for problem in section.assign_to_plugins() if problem.level == "error"]
    result = {}
    for id in section.value if isinstance(section.value, dict) else ():
        problem = "; ".join(str(error) for error in errors if error.plugin == id) or None
        result[id] = replace(entries.get(id, PluginEntry()), problem=problem, inherited=not section.is_own(id))
    return result


def _provider(section: Section, fields: dict[str, Any]) -> dict[str, Any] | None:
    """A provider that only OpenClaw can speak to is left out, but for models of its that speak a protocol of their own."""
    fields["base_url"], fields["problem"] = _base_url(section, fields.get("base_url"))
    if not _speaks_another_protocol(section):
        return fields
    fields["models"] = tuple(model for model in fields.get("models", ()) if model.api is not None)
    return fields if fields["models"] else None


def _model(section: Section, fields: dict[str, Any]) -> dict[str, Any] | None:
    return None if _speaks_another_protocol(section) else fields


def _speaks_another_protocol(section: Section) -> bool:
    api = section.value.get("api") if isinstance(section.value, dict) else None
    return isinstance(api, str) and api not in API_KINDS and _is_foreign(section, ("api",), api, openclaw.API_KINDS)


def _base_url(section: Section, text: str | None) -> tuple[str | None, str | None]:
    """The URL, if requests may go to it; and why they may not. One with `${VAR}` in it is checked when that is resolved."""
    if text is None:
        return None, None
    steps = ("baseUrl",)
    url = normalised_base_url(text)
    if text != text.strip():
        section.report_warning(steps, "has blanks around it, which are left out", "write it without them", standing=True)
    if holds_reference(url):
        return url, None
    why = why_not_a_base_url(url)
    if why is not None:
        return None, section.report_unusable(steps, f"cannot be used: {why}", hint_for_base_url(url))
    if is_in_the_clear(url):
        section.report_warning(
            steps, "is plain http: whoever shares that network can read the key and every answer", standing=True
        )
    return url, None


def hint_for_base_url(url: str) -> str | None:
    """What to write in the place of a base URL that cannot be used, where that is known."""
    endpoint = endpoint_end(url)
    if endpoint is not None:
        return f"write it without `{endpoint}`"
    return None if url.isascii() else "write its host as it is in DNS: xn--..."


def _headers(section: Section, headers: dict[str, str]) -> dict[str, str]:
    """The headers that can be sent as they are written."""
    usable = {}
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name):
            hint = "write letters, digits and hyphens, such as X-Team"
            section.report_unusable((name,), "is no name of a header", hint, alone=True)
        elif _LINE_BREAK.search(value):
            section.report_unusable((name,), "holds a line break, which no header may", "write it in one line", alone=True)
        elif name.lower() in FRAMING:
            section.report_warning((name,), "is Portico's own to send; it has no effect", "leave it out")
        else:
            usable[name] = value
    return usable


def _cost(_section: Section, fields: dict[str, Any]) -> dict[str, Any] | None:
    return fields or None


def _tiers(section: Section, tiers: dict[int, Any]) -> tuple[Any, ...]:
    """The tiers; of several with one bound the first is taken."""
    by_bound: dict[int, Any] = {}
    for index, tier in tiers.items():
        if tier.input_above in by_bound:
            section.report_error((index, "inputAbove"), "is the same as that of an earlier tier")
        by_bound.setdefault(tier.input_above, tier)
    return tuple(by_bound.values())


def _corrected_provider(section: Section, fields: dict[str, Any]) -> dict[str, Any]:
    for name in ("apiKey", "headers"):
        if isinstance(section.value, dict) and name in section.value:
            section.report_warning((name,), _NOT_READ)
    return fields


def _corrected_headers(section: Section, headers: dict[str, str]) -> dict[str, str]:
    section.report_warning((), _NOT_READ)
    return _headers(section, headers)


_RULES: Final[dict[Rule, Callable[[Section, Any], Any]]] = {
    "config": _config,
    "variables": _variables,
    "profile": _profile,
    "defaults": _defaults,
    "plugins": _plugins,
    "folders": _folders,
    "entries": _entries,
    "provider": _provider,
    "model": _model,
    "headers": _headers,
    "cost": _cost,
    "tiers": _tiers,
    "corrected-provider": _corrected_provider,
    "corrected-headers": _corrected_headers,
}
