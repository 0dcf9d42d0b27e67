"""`models set` over an OpenClaw file: ours is written, theirs only when told, and then by one value."""

from __future__ import annotations

import json

import pytest

M21, OPUS = "minimax/MiniMax-M2.1", "anthropic/claude-opus-4-6"
THEIRS = f"""// mine since 2025
{{
  $include: "./channels.json5",
  channels: {{ telegram: {{ enabled: true }} }}, // the family's
  tools: {{ exec: {{ host: "gateway" }} }},
  agents: {{
    defaults: {{
      workspace: "~/clawd",
      model: {{ primary: '{OPUS}', fallbacks: [] }},
      models: {{
        "{OPUS}": {{ alias: "opus" }}, // the dear one
        "{M21}": {{}},
      }},
    }},
    list: [{{ id: "main", default: true }}],
  }},
}}
"""
WITHOUT = THEIRS.replace(f'        "{M21}": {{}},\n', "")


@pytest.fixture
def below(minimax, tmp_path):
    """A session whose config lies over an OpenClaw file of this text; the file."""

    def begin(text):
        session, base = minimax(), tmp_path / "openclaw" / "openclaw.json"
        base.parent.mkdir()
        base.write_text(text, encoding="utf-8")
        (base.parent / "channels.json5").write_text("{ messages: { responsePrefix: 'x' } }", encoding="utf-8")
        session.paths.config.write_text(f"{{ base: {json.dumps(str(base))} }}\n", encoding="utf-8")
        session.env["MINIMAX_API_KEY"] = "sk-emulator-global"
        return session, base

    return begin


def changed(before, after):
    """The lines that went and those that came."""
    old, new = before.splitlines(), after.splitlines()
    return [line.strip() for line in old if line not in new], [line.strip() for line in new if line not in old]


@pytest.mark.requirement("P12")
def test_the_base_is_read_and_set_writes_the_own_file_alone(below):
    session, base = below(THEIRS)
    assert session.ok("models", "status", "--plain") == f"{OPUS}\n"

    session.ok("models", "set", M21)

    assert base.read_text(encoding="utf-8") == THEIRS
    assert M21 in session.paths.config.read_text(encoding="utf-8")
    assert "answering as MiniMax-M2.1" in session.ok("ask", "Hello")


def test_with_write_base_the_primary_is_all_that_differs(below):
    session, base = below(THEIRS)
    own = session.paths.config.read_text(encoding="utf-8")

    session.ok("models", "set", M21, "--write-base")

    assert base.read_text(encoding="utf-8") == THEIRS.replace(f"primary: '{OPUS}'", f"primary: '{M21}'")
    assert session.paths.config.read_text(encoding="utf-8") == own
    assert session.ok("models", "status", "--plain") == f"{M21}\n"


def test_an_allow_list_that_lacks_the_model_gets_that_one_key_as_well(below):
    session, base = below(WITHOUT)

    session.ok("models", "set", M21, "--write-base")

    went, came = changed(WITHOUT, base.read_text(encoding="utf-8"))
    assert went == [f"model: {{ primary: '{OPUS}', fallbacks: [] }},"]
    assert came == [f"model: {{ primary: '{M21}', fallbacks: [] }},", f'"{M21}": {{}},']
