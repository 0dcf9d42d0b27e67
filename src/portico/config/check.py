"""Check a config against the table in `config/schema.py`, and return its values and all its problems.

A value of the wrong type is reported and then ignored, so one run finds every problem. The rules at the end of this module check
what a type cannot express; the table names them.
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

# RFC 9110 section 5.6.2: a header name.
_TOKEN: Final = re.compile(r"[!#$%&'*+.^`|~\w-]+", re.ASCII)
_LINE_BREAK: Final = re.compile(r"[\r\n\0]")
_NEAR_MISS: Final = 0.75
_NOT_EMPTY: Final = "must be a string that is not empty"
_NOT_READ: Final = "has no effect here: keep secrets out of this file"


def check(source: Document | Effective) -> tuple[Config, list[Problem]]:
    """Return the config in `source`, and its problems in the order of the text."""
    config, problems = read(TOP, source)
    return config if isinstance(config, Config) else Config(), problems


def read(key: Key, source: Document | Effective) -> tuple[Any, list[Problem]]:
    """Read `source` as the table's `key`; return the value, or None, and the problems in the order of the text."""
    effective = source if isinstance(source, Effective) else Effective(source)
    problems: list[Problem] = []
    section = Section(effective, problems, (), None)
    for path, origin in effective.hidden():
        message = f"{shown_path(path)} is written twice; the last value is used"
        problems.append(Problem("warning", str(origin), path, message, layer=origin.layer))
    value = _object(section, (), effective.value(), key)
    return value, sorted(problems, key=problem_order(effective.document.name))


def check_stack(stack: Stack) -> tuple[Config, list[Problem]]:
    """Return the config in the files of `stack`, and the problems of all of them."""
    config, problems = check(stack.effective)
    return config, sorted((*problems, *stack.problems), key=problem_order(stack.own.document.name))


def problem_order(name: str) -> Callable[[Problem], tuple[bool, bool, str, int, int]]:
    """Return a sort key for problems: the file `name` first, then its included files, then the base; by line and column."""

    def key(problem: Problem) -> tuple[bool, bool, str, int, int]:
        file, line, column = problem.where.rsplit(":", 2)
        return problem.layer == "base", file != name, file, int(line), int(column)

    return key


class Section:
    """An object or an array that is being checked.

    The methods take the steps from this section to a value inside it.
    """

    def __init__(self, source: Effective, problems: list[Problem], path: ConfigPath, value: JsonValue) -> None:
        self._source = source
        self._problems = problems
        self._problem_start = len(problems)
        self.path = path
        self.value = value

    def section_at(self, steps: ConfigPath, value: JsonValue) -> Section:
        """Return the section for `value` at `steps`."""
        return Section(self._source, self._problems, (*self.path, *steps), value)

    def is_own(self, *steps: str | int) -> bool:
        """Whether the value comes from Portico's own file or its included files, and not from the base."""
        return self._source.origin((*self.path, *steps)).layer == "own"

    def report_error(self, steps: ConfigPath, message: str, hint: str | None = None, *, of_key: bool = False) -> None:
        """Report that the value makes the config unusable."""
        self._report((*self.path, *steps), message, hint, of_key=of_key)

    def report_unusable(self, steps: ConfigPath, message: str, hint: str | None = None, *, alone: bool = False) -> str:
        """Report that only this object cannot be used, or with `alone` only the value; return the text of the report."""
        path = (*self.path, *steps)
        return self._report(path, message, hint, only=format_path(path if alone else self.path))

    def report_warning(
        self, steps: ConfigPath, message: str, hint: str | None = None, *, of_key: bool = False, standing: bool = False
    ) -> None:
        """Report that the value has less effect than the user may expect. `standing` as in `Problem`."""
        path = (*self.path, *steps)
        origin = self._source.origin(path, of_key=of_key)
        message = f"{shown_path(path)} {message}"
        self._problems.append(Problem("warning", str(origin), path, message, hint, origin.layer, standing=standing))

    def assign_to_plugins(self) -> list[Problem]:
        """Make each problem in this map of plugins stop only its own plugin; return these problems."""
        plugin_problems = self._problems[self._problem_start :]
        plugin_problems = [replace(problem, plugin=str(problem.path[len(self.path)])) for problem in plugin_problems]
        self._problems[self._problem_start :] = plugin_problems
        return plugin_problems

    def _report(self, path: ConfigPath, message: str, hint: str | None, *, of_key: bool = False, only: str | None = None) -> str:
        origin = self._source.origin(path, of_key=of_key)
        problem = Problem("error", str(origin), path, f"{shown_path(path)} {message}", hint, origin.layer, only=only)
        self._problems.append(problem)
        return str(problem)


# --- the walk: each function reads one kind of value, at `steps` of a section, and returns None if it cannot be used ------------


def _read_member(section: Section, name: str, value: JsonValue, key: Key) -> Any:
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
    """Whether only OpenClaw knows `word`. A base may have words of a newer OpenClaw."""
    return word in foreign or not section.is_own(*steps)


def _string(section: Section, steps: ConfigPath, value: JsonValue, key: Key) -> str | None:
    """Read a text; an empty text is treated as absent."""
    return None if value == "" else _text(section, steps, value, key)


def _secret(section: Section, steps: ConfigPath, value: JsonValue, key: Key) -> Secret | None:
    """Read a secret as it is written; an OpenClaw reference to an environment variable becomes `${VAR}`."""
    if isinstance(value, dict):
        name = value.get("id")
        if value.get("source") == "env" and isinstance(name, str):
            return Secret(f"${{{name}}}")
        section.report_warning(steps, "is a reference that only OpenClaw can resolve; it has no effect")
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
    "any": lambda _section, _steps, value, _key: value,
}


def _report_unknown(section: Section, members: dict[str, JsonValue], key: Key) -> None:
    """Report unknown keys of an object: an error if a known key has a similar name, else a warning.

    A base may have keys of a newer OpenClaw: there a similar name is only a warning, and an unknown top-level key is not
    reported.
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
    """Return the word in `words` that `word` was probably meant to be, or None."""
    import difflib

    by_folded = {_folded(candidate): candidate for candidate in words}
    matches = difflib.get_close_matches(_folded(word), by_folded, n=1, cutoff=_NEAR_MISS)
    return by_folded[matches[0]] if matches else None


def _folded(word: str) -> str:
    return word.lower().replace("_", "").replace("-", "")


@cache
def _field(name: str) -> str:
    """Return the field of a class for the key `name`: `base_url` for `baseUrl`."""
    return re.sub(r"(?<!^)([A-Z])", r"_\1", name).lower()


# --- the rules: each takes the value that was read at its section, and returns the value to use; None leaves it out -------------


def _config(_section: Section, fields: dict[str, Any]) -> dict[str, Any]:
    fields["history"] = fields.get("history") != "off"
    fields["agents"] = fields.get("agents", {}).get("defaults", AgentDefaults())
    return fields


def _variables(section: Section, entries: dict[str, Any]) -> dict[str, str]:
    """Merge `env` and `env.vars`; if only one of the two is in Portico's own file, it takes precedence."""
    entries.pop("shellEnv", None)
    variables: dict[str, str] = entries.pop("vars", {})
    for name, text in entries.items():
        if name not in variables or section.is_own(name) or not section.is_own("vars", name):
            variables[name] = text
    return variables


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
            section.report_warning((index,), f"{error.fault}: Portico does not search it for plugins", error.hint)
    return folders


def _entries(section: Section, entries: dict[str, PluginEntry]) -> dict[str, PluginEntry]:
    """Check the entries of plugins: an error in an entry disables only the plugin of that entry."""
    errors = [problem for problem in section.assign_to_plugins() if problem.level == "error"]
    result = {}
    for id in section.value if isinstance(section.value, dict) else ():
        problem = "; ".join(str(error) for error in errors if error.plugin == id) or None
        result[id] = replace(entries.get(id, PluginEntry()), problem=problem, inherited=not section.is_own(id))
    return result


def _provider(section: Section, fields: dict[str, Any]) -> dict[str, Any] | None:
    """Leave out a provider whose protocol only OpenClaw knows, but keep its models that have another protocol."""
    fields["base_url"], fields["problem"] = _base_url(section, fields.get("base_url"))
    if not _speaks_another_protocol(section):
        return fields
    fields["models"] = tuple(model for model in fields.get("models", ()) if model.api is not None)
    return fields if fields["models"] else None


def _speaks_another_protocol(section: Section) -> bool:
    api = section.value.get("api") if isinstance(section.value, dict) else None
    return isinstance(api, str) and api not in API_KINDS and _is_foreign(section, ("api",), api, openclaw.API_KINDS)


def _base_url(section: Section, text: str | None) -> tuple[str | None, str | None]:
    """Return the URL if it can be used, and the problem if not. A URL with `${VAR}` is checked when it is resolved."""
    if text is None:
        return None, None
    steps = ("baseUrl",)
    url = normalised_base_url(text)
    if text != text.strip():
        section.report_warning(steps, "has spaces around it, which Portico removes", "write it without them", standing=True)
    if holds_reference(url):
        return url, None
    why = why_not_a_base_url(url)
    if why is not None:
        return None, section.report_unusable(steps, f"cannot be used: {why}", hint_for_base_url(url))
    if is_in_the_clear(url):
        message = "is plain http: other users of that network can read the key and every response"
        section.report_warning(steps, message, standing=True)
    return url, None


def hint_for_base_url(url: str) -> str | None:
    """Return what to write instead of a base URL that cannot be used; None if that is unknown."""
    endpoint = endpoint_end(url)
    if endpoint is not None:
        return f"write it without `{endpoint}`"
    return None if url.isascii() else "write its host as it is in DNS: xn--..."


def _headers(section: Section, headers: dict[str, str]) -> dict[str, str]:
    """Return the headers that Portico can send."""
    usable = {}
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name):
            hint = "write letters, digits and hyphens, such as X-Team"
            section.report_unusable((name,), "is not a valid header name", hint, alone=True)
        elif _LINE_BREAK.search(value):
            message = "contains a line break, which is not allowed in a header"
            section.report_unusable((name,), message, "write it in one line", alone=True)
        elif name.lower() in FRAMING:
            section.report_warning((name,), "is a header that Portico sets itself; it has no effect", "leave it out")
        else:
            usable[name] = value
    return usable


def _tiers(section: Section, tiers: dict[int, Any]) -> tuple[Any, ...]:
    """Return the tiers; if several have the same bound, only the first."""
    by_bound: dict[int, Any] = {}
    for index, tier in tiers.items():
        if tier.input_above in by_bound:
            section.report_error((index, "inputAbove"), "is the same as in an earlier tier")
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
    "profile": lambda _section, fields: fields if fields.keys() >= {"provider", "mode"} else None,
    "defaults": _defaults,
    "plugins": _plugins,
    "folders": _folders,
    "entries": _entries,
    "provider": _provider,
    "model": lambda section, fields: None if _speaks_another_protocol(section) else fields,
    "headers": _headers,
    "cost": lambda _section, fields: fields or None,
    "tiers": _tiers,
    "corrected-provider": _corrected_provider,
    "corrected-headers": _corrected_headers,
}
