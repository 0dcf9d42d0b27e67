"""Two processes that edit the same file at random."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from portico.config.document import ConfigFile

SRC = Path(__file__).parents[2] / "src"
TEXT = """// the first line
{
  a: {}, // one's
  b: { l: [] }, /* the other's */
  // nobody's
  c: { kept: [1, 2] },
}
"""
EDIT_AT_RANDOM = """
    import copy, json, random, sys
    from pathlib import Path
    from portico.config.document import ConfigFile

    place, seed = sys.argv[3], int(sys.argv[4])
    chance = random.Random(seed)
    file = ConfigFile(Path(sys.argv[1]), Path(sys.argv[2]))
    mine = file.load().get((place,))

    def step(document):
        global new
        new = copy.deepcopy(mine)
        key, value = chance.choice("klmn"), chance.choice([1, True, None, "it's", {"x": [1]}, [{"y": 2}], []])
        kind = chance.choice(["set", "unset", "merge", "insert"])
        if kind == "set":
            new[key] = value
            return document.set((place, key), value)
        if kind == "unset" and key in new:
            del new[key]
            return document.unset((place, key))
        if kind == "insert":
            if not isinstance(new.get(key), list):
                new[key] = []
                document = document.set((place, key), [])
            index = chance.randint(0, len(new[key]))
            new[key].insert(index, value)
            return document.insert((place, key, index), value)
        new = {**new, "deep": {**new.get("deep", {}), key: 1}}
        return document.merge({place: {"deep": {key: 1}}})

    print("ready", flush=True)
    sys.stdin.readline()
    for _ in range(60):
        file.edit(step)
        mine = new
    print(json.dumps(mine))
"""


@pytest.mark.requirement("S6")
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_random_edits_by_two_processes_at_once_lose_nothing(tmp_path, seed):
    path = tmp_path / "portico.json5"
    path.write_text(TEXT, encoding="utf-8")
    command = [sys.executable, "-c", textwrap.dedent(EDIT_AT_RANDOM), str(path), str(tmp_path / "locks")]
    env = {**os.environ, "PYTHONPATH": str(SRC)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": env}
    children = [subprocess.Popen([*command, point, str(number)], **pipes) for point, number in (("a", seed), ("b", -seed))]
    for child in children:
        assert child.stdout.readline() == "ready\n"
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    outcomes = [json.loads(child.communicate(timeout=50)[0]) for child in children]

    document = ConfigFile(path, tmp_path / "locks").load()
    assert document.value() == {"a": outcomes[0], "b": outcomes[1], "c": {"kept": [1, 2]}}
    for comment in ("// the first line", "// one's", "/* the other's */", "// nobody's"):
        assert comment in document.text
