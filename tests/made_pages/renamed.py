"""The page of the ids that have merged into others, made of the table that `explain` goes by."""

from __future__ import annotations

from portico.cli.explain import OLD_IDS

_HEAD = """# renamed

Ids of errors that version 0.6.0 had and that have merged into others, because what to do is the same. `portico explain` shows the page
of the new id for the old one too, and an error in `--json` names the old ids that it may have had beside its own, as `oldIds`: a script
can go by either until the next version.

| old id | new id |
| --- | --- |
"""


def page() -> str:
    """The whole page."""
    pairs = sorted((old, new) for new, olds in OLD_IDS.items() for old in olds)
    return _HEAD + "".join(f"| `{old}` | [{new}]({new}.md) |\n" for old, new in pairs)
