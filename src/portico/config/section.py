"""Reading one object of a configuration field by field, and noting everything that is wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from portico.config.config_path import format_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from portico.config.config_path import ConfigPath
    from portico.config.problem import Report
    from portico.interfaces.basics import JsonValue

Word = TypeVar("Word", bound=str)
_NEAR_MISS = 0.75


class Section:
    """One object. Each read marks its key as known; `finish` then finds the keys that nobody knows.

    A value of the wrong type is noted and read as if it were absent, so that one run finds every problem.
    """

    def __init__(self, report: Report, path: ConfigPath, members: Mapping[str, JsonValue]) -> None:
        self._report = report
        self.path = path
        self.members = members
        self._known: list[str] = []

    def text(self, key: str) -> str | None:
        """A string that is not empty."""
        value = self._take(key)
        if isinstance(value, str) and value.strip():
            return value
        self._refuse(key, value, "must be a string that is not empty")
        return None

    def flag(self, key: str) -> bool | None:
        """True or false."""
        value = self._take(key)
        if isinstance(value, bool):
            return value
        self._refuse(key, value, "must be true or false")
        return None

    def integer(self, key: str, low: int, high: int | None = None) -> int | None:
        """A whole number from `low` to `high`."""
        value = self._take(key)
        is_whole = not isinstance(value, bool) and isinstance(value, (int, float)) and value % 1 == 0
        if is_whole and isinstance(value, (int, float)) and low <= value and (high is None or value <= high):
            return int(value)
        self._refuse(key, value, f"must be a whole number of {low} or more" if high is None else f"must be {low}-{high}")
        return None

    def amount(self, key: str) -> float | None:
        """A number that is not negative."""
        value = self._take(key)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < float("inf"):
            return value
        self._refuse(key, value, "must be a number that is not negative")
        return None

    def word(self, key: str, words: Sequence[Word]) -> Word | None:
        """One of `words`."""
        value = self._take(key)
        for word in words:
            if word == value:
                return word
        near = nearest(value, words) if isinstance(value, str) else None
        choices = " or ".join(f'"{word}"' for word in words)
        self._refuse(key, value, f"must be {choices}", f"did you mean `{near}`?" if near else None)
        return None

    def texts(self, key: str) -> tuple[str, ...] | None:
        """An array of strings that are not empty."""
        value = self._take(key)
        if not isinstance(value, list):
            self._refuse(key, value, "must be an array of strings")
            return None
        for index, item in enumerate(value):
            if not isinstance(item, str) or not item.strip():
                self._report.error((*self.path, key, index), "must be a string that is not empty")
        return tuple(item for item in value if isinstance(item, str) and item.strip())

    def section(self, key: str) -> Section:
        """The object at `key`; an empty one where there is none."""
        value = self._take(key)
        if not isinstance(value, dict):
            self._refuse(key, value, "must be an object")
        return Section(self._report, (*self.path, key), value if isinstance(value, dict) else {})

    def sections(self, key: str) -> Iterator[tuple[str, Section]]:
        """The objects of the map at `key`, by their keys."""
        named = self.section(key)
        for name in named.members:
            yield name, named.section(name)

    def elements(self, key: str) -> Iterator[Section]:
        """The objects of the array at `key`."""
        value = self._take(key)
        if not isinstance(value, list):
            self._refuse(key, value, "must be an array of objects")
        for index, item in enumerate(value if isinstance(value, list) else ()):
            path = (*self.path, key, index)
            if isinstance(item, dict):
                yield Section(self._report, path, item)
            else:
                self._report.error(path, "must be an object")

    def texts_by_name(self, key: str) -> dict[str, str]:
        """The map of names to strings at `key`."""
        named = self.section(key)
        return {name: value for name in named.members if (value := named.text(name)) is not None}

    def skip(self, key: str) -> None:
        """Take `key` as it is, whatever it is."""
        self._known.append(key)

    def is_own(self, key: str) -> bool:
        """Whether what stands at `key` is Portico's own file's word, and not its base's alone."""
        return self._report.is_own((*self.path, key))

    def doubt(self, key: str, message: str, hint: str | None = None, *, standing: bool = False) -> None:
        """Note that the value of `key` does less than it seems to; `standing` is that of `Problem`."""
        self._report.warn((*self.path, key), message, hint, of_key=False, standing=standing)

    def unusable(self, key: str, message: str, hint: str | None = None, *, alone: bool = False) -> str:
        """Note that the value of `key` cannot be, which stops nothing but the use of this object, or of that value `alone`.

        What was noted comes back, with its place.
        """
        path = (*self.path, key)
        return self._report.error(path, message, hint, only=format_path(path if alone else self.path))

    def missing(self, key: str) -> None:
        """Note that `key` has to be there."""
        self._report.error(self.path, f"needs `{key}`")

    def wrong(self, key: str, message: str, hint: str | None = None) -> None:
        """Note that the value of `key` cannot be."""
        self._report.error((*self.path, key), message, hint)

    def finish(self, foreign: Iterable[str] = (), *, tells_base: bool = True) -> None:
        """Note the keys that nobody knows: as errors where a known key was meant, else as warnings.

        `foreign` are keys that mean something to OpenClaw alone. In a base, whose every key means something to the OpenClaw that
        wrote it, a near miss is no more than a warning, and `tells_base` False leaves the others unmentioned.
        """
        for key in self.members.keys() - {*self._known, *foreign}:
            own = self.is_own(key)
            meant = nearest(key, self._known)
            hint = f"did you mean `{meant}`?" if meant else None
            if meant and own:
                self._report.error((*self.path, key), "is not a key that Portico knows", hint, of_key=True)
            elif own or meant or tells_base:
                self._report.warn((*self.path, key), "is not a key that Portico knows; it has no effect", hint)

    def _take(self, key: str) -> JsonValue:
        self._known.append(key)
        if key in self.members and self.members[key] is None:
            self._report.error((*self.path, key), "must not be null", "leave the key out")
        return self.members.get(key)

    def _refuse(self, key: str, value: JsonValue, message: str, hint: str | None = None) -> None:
        """Note that `value`, if there is one, is not what `message` says."""
        if value is not None:
            self.wrong(key, message, hint)


def nearest(word: str, words: Iterable[str]) -> str | None:
    """The one of `words` that was probably meant, None where none is near."""
    import difflib

    plain = {_folded(candidate): candidate for candidate in words}
    found = difflib.get_close_matches(_folded(word), plain, n=1, cutoff=_NEAR_MISS)
    return plain[found[0]] if found else None


def _folded(word: str) -> str:
    return word.lower().replace("_", "").replace("-", "")
