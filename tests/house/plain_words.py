"""The words and phrases that docs/glossary.md leaves behind, and where they are still: `python -m tests.house.plain_words [PART]`.

Phrases are looked for in every text of the source, the plugins and the documents: code, comments, messages, pages. Single words
are looked for in the names that the code gives and in the first lines of docstrings, where they once named things.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.source_tree import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GLOSSARY: Final = ROOT / "docs" / "glossary.md"
# The history keeps its words, and the list of old ids the old ids.
_HISTORY: Final = ("CHANGELOG.md", "docs/glossary.md", "docs/errors/renamed.md")
_TEXTS: Final = ("*.md", "src/**/*.py", "src/**/*.html", "extensions/**/*.py", "extensions/**/*.md", "docs/**/*.md")
_CODE: Final = ("src/**/*.py", "extensions/**/*.py")
# Spellings on disk, on the wire or of other projects: (the end of the path, the phrase or name), each with its reason.
ALLOWED: Final[dict[tuple[str, str], str]] = {
    ("docs/reference/files.md", "sealed"): "the name of a folder in the state folder",
    ("portico/testing/grants.py", "refusal"): "emulators of plugins import it",
    ("portico/paths.py", "sealed"): "the folder of the encrypted file",
    ("store/encrypted_file.py", "sealed"): "on disk: file suffix, lock file, authenticated contexts and the key of a long record",
    ("auth/broker.py", "flight"): "the glossary's single flight",
    ("auth/single_flight.py", "flight"): "the glossary's single flight",
    ("portico/errors.py", "way"): "NoWayToSignIn, a name of the plugin API",
    ("emulator/settings.py", "refusal"): "the knob `refusal` of `emulator run`",
    ("portico/usage/plan.py", "told"): "a value of `state` in `usage --json`",
    ("cli/doctor.py", "mended"): "a key of `--json`",
    ("cli/explain.py", "told"): "an id of version 0.6.0",
    ("cli/explain.py", "sealed"): "ids of version 0.6.0",
    ("cli/models.py", "nobody"): "a value of `--json`",
    ("cli/purge.py", "sealed"): "the name of a folder in the state folder",
    ("cli/usage_plan.py", "told"): "a value of `--json`",
    ("portico/interfaces/plugins.py", "vendor"): "a deprecated argument of ProviderSpec, which goes with 1.0",
}


@dataclass(frozen=True, slots=True)
class Place:
    """One place where a word or phrase was found."""

    path: Path
    line: int
    words: str
    text: str

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}: {self.words}: {self.text.strip()}"


def left_behind() -> Iterator[Place]:
    """Every place with a phrase or a word of the list."""
    phrases, words = _lists()
    for path in _files(_TEXTS):
        text = path.read_text(encoding="utf-8")
        for found in phrases.finditer(text):
            yield _place(path, text, found)
    for path in _files(_CODE):
        for number, name, text in _names(ast.parse(path.read_bytes())):
            yield from (Place(path, number, word, text) for word in re.findall("[a-z]+", name) if word in words)


def remaining() -> list[Place]:
    """The places that no exception allows."""
    return [
        place
        for place in left_behind()
        if not any(place.path.as_posix().endswith(end) and place.words == words for end, words in ALLOWED)
    ]


def _lists() -> tuple[re.Pattern[str], frozenset[str]]:
    phrases, words = (
        [each.strip() for each in " ".join(line.lstrip("> ") for line in block.splitlines()).split(",")]
        for block in re.findall(r"(?:^>.*\n)+", GLOSSARY.read_text(encoding="utf-8"), re.MULTILINE)
    )
    return re.compile(rf"\b(?:{'|'.join(map(_pattern, phrases))})\b", re.IGNORECASE), frozenset(words)


def _pattern(phrase: str) -> str:
    """A phrase is one too where it is broken into two lines, of a comment as well."""
    return r"\s+(?:#\s*)?".join(re.escape(word).replace(r"\*", r"\w*") for word in phrase.split())


def _place(path: Path, text: str, found: re.Match[str]) -> Place:
    start = text.rfind("\n", 0, found.start()) + 1
    line = text[start : text.find("\n", found.start())]
    return Place(path, text.count("\n", 0, found.start()) + 1, " ".join(found.group().lower().replace("#", "").split()), line)


def _files(patterns: tuple[str, ...]) -> list[Path]:
    found = {path for pattern in patterns for path in ROOT.glob(pattern)}
    return sorted(path for path in found if not path.as_posix().endswith(_HISTORY) and "node_modules" not in path.parts)


def _names(tree: ast.Module) -> Iterator[tuple[int, str, str]]:
    """(line, words in lower case, what to show) of every name that is bound, and of every docstring's first line."""
    for node in ast.walk(tree):
        for line, name in _bound(node):
            yield line, re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).lower(), name
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and (
            text := ast.get_docstring(node)
        ):
            first = text.splitlines()[0]
            yield node.body[0].lineno, first.lower(), first


def _bound(node: ast.AST) -> Iterator[tuple[int, str]]:
    match node:
        case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            yield node.lineno, name
        case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
            yield node.lineno, name
        case ast.alias(asname=str(name)):
            yield node.lineno, name


def _report(parts: list[str]) -> None:
    places = [place for place in remaining() if not parts or any(part in str(place.path) for part in parts)]
    if parts:
        sys.stdout.writelines(f"{place}\n" for place in places)
    packages = Counter("/".join(place.path.relative_to(ROOT).parts[:3]) for place in places)
    sys.stdout.writelines(f"{count:6} {package}\n" for package, count in sorted(packages.items()))
    sys.stdout.write(f"{len(places):6} in all\n")


if __name__ == "__main__":
    _report(sys.argv[1:])
