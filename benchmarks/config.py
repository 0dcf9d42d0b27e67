"""A configuration of 2,000 lines: read and checked, changed in one place, and one value of it printed."""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from figures import Figure, compile_everything, environment, launcher, ratios

if TYPE_CHECKING:
    from collections.abc import Callable

    from portico.config.document import Document

LINES = 2_000
OTHERS = "x = pyjson5 and msgspec on the same text: no places, one error at a time"
PARSE = "of parsing the same text, in the same run"
FLOOR = "x = `python -c pass`"


def measure(rounds: int = 31) -> list[Figure]:
    """Reading, one edit, and `config get`, each against its floor."""
    compile_everything()
    text = a_config(LINES)
    return [_reading(text, rounds), *_editing(text, rounds), _getting(text, max(11, rounds // 2))]


def a_config(lines: int) -> str:
    """At least so many lines as a person with many providers would write: comments, both quotes, trailing commas."""
    written = ["{", "  // generated for a benchmark", "  models: {", '    mode: "merge",', "    providers: {"]
    number = 0
    while len(written) < lines - 3:
        written += _provider(number)
        number += 1
    return "\n".join([*written, "    },", "  },", "}"]) + "\n"


def _provider(number: int) -> list[str]:
    models = [line for index in range(5) for line in _model(index)]
    return [
        f"      provider{number}: {{ // the {number}th",
        f'        baseUrl: "https://p{number}.example/v1",',
        f'        apiKey: "${{KEY_{number}}}",',
        '        api: "openai-completions",',
        "        models: [",
        *models,
        "        ],",
        "      },",
    ]


def _model(index: int) -> list[str]:
    return [
        "          {",
        f'            id: "model-{index}",',
        f"            name: 'Model {index}', // as people call it",
        "            reasoning: false,",
        '            input: ["text"],',
        "            cost: { input: 0.3, output: 1.2, cacheRead: 0.03, cacheWrite: 0.375 },",
        "            contextWindow: 200000,",
        "            maxTokens: 8192,",
        "          },",
    ]


def _reading(text: str, rounds: int) -> Figure:
    import pyjson5

    from portico.config.check import check
    from portico.config.document import Document

    convert = _by_msgspec()

    def ours() -> None:
        _, problems = check(Document.parse(text, name="benchmark"))
        if problems:
            raise RuntimeError(str(problems[0]))

    ratio = _ratio(ours, lambda: convert(pyjson5.decode(text)), rounds)
    return Figure(f"parse and validate {LINES} lines", ratio, 30, "x", OTHERS)


def _by_msgspec() -> Callable[[object], object]:
    import msgspec

    cost = msgspec.defstruct("Cost", [("input", float), ("output", float), ("cacheRead", float), ("cacheWrite", float)])
    model = msgspec.defstruct(
        "Model",
        [
            ("id", str),
            ("name", str),
            ("reasoning", bool),
            ("input", list[str]),
            ("cost", cost),
            ("contextWindow", int),
            ("maxTokens", int),
        ],
        forbid_unknown_fields=True,
    )
    fields: list[Any] = [("baseUrl", str), ("apiKey", str), ("api", str), ("models", list[model])]  # type: ignore[valid-type]
    provider = msgspec.defstruct("Provider", fields, forbid_unknown_fields=True)
    models = msgspec.defstruct("Models", [("mode", str), ("providers", dict[str, provider])])  # type: ignore[valid-type]
    whole = msgspec.defstruct("Config", [("models", models)], forbid_unknown_fields=True)
    return lambda value: msgspec.convert(value, whole)


def _editing(text: str, rounds: int) -> list[Figure]:
    """The dearest of several edits; and one whose outcome is read again, which is when the tree is made anew."""
    provider = ("models", "providers", "provider9")
    edits: list[Callable[[Document], Document]] = [
        lambda document: document.set((*provider, "models", 3, "maxTokens"), 4096),
        lambda document: document.set(("models", "mode"), "replace"),
        lambda document: document.set((*provider, "authHeader"), True),
        lambda document: document.set(("gateway", "port"), 18500),
        lambda document: document.insert((*provider, "models", 1), {"id": "x"}),
        lambda document: document.unset((*provider, "models", 2)),
    ]
    dearest = max(_share_of_parse(text, edit, rounds) for edit in edits)
    again = _share_of_parse(text, lambda document: edits[0](document).value(), rounds)
    return [
        Figure(f"one edit of them, the dearest of {len(edits)}", dearest * 100, 5, "%", PARSE),
        Figure("one edit, and all of it read again", again, 1.5, "x", "x = parsing the same text"),
    ]


def _share_of_parse(text: str, edit: Callable[[Document], object], rounds: int) -> float:
    """The median of an edit over the parse of the very document that it changes, which no edit has touched before."""
    from portico.config.document import Document

    found = []
    for number in range(rounds + 1):
        began = time.perf_counter()
        document = Document.parse(text, name="benchmark")
        parsed = time.perf_counter()
        edit(document)
        edited = time.perf_counter()
        if number:
            found.append((edited - parsed) / (parsed - began))
    return statistics.median(found)


def _getting(text: str, rounds: int) -> Figure:
    with tempfile.TemporaryDirectory(prefix="portico-bench-") as folder:
        config = Path(folder) / "portico.json5"
        config.write_text(text, encoding="utf-8")
        command = [*launcher(Path(folder), "portico", "portico.cli.main"), "config", "get", "models.mode"]
        env = environment(PORTICO_STATE_DIR=f"{folder}/state", PORTICO_CONFIG=str(config))
        found = ratios([sys.executable, "-c", "pass"], {"get": command}, env, rounds=rounds)
    return Figure(f"portico config get, {LINES} lines", found["get"], 8, "x", FLOOR)


def _ratio(work: Callable[[], object], floor: Callable[[], object], rounds: int) -> float:
    """The median of `work` over `floor`, taken in turns; the first round warms both."""
    found = []
    for number in range(rounds + 1):
        floor_s, work_s = _wall_s(floor), _wall_s(work)
        if number:
            found.append(work_s / floor_s)
    return statistics.median(found)


def _wall_s(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    print(*measure(), sep="\n")
