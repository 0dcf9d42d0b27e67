"""The page of the ids that have merged into others, made of the table that `explain` goes by."""

from __future__ import annotations

from portico.cli.explain import OLD_IDS

_HEAD = """# renamed

Some errors of version 0.6.0 were merged into others, because the same steps fix them. This page lists the old ids and
the new ids. `portico explain` also accepts an old id, and shows the page of the new id. With `--json`, an error also
lists its possible old ids as `oldIds`. So until the next version, a script can use the old ids or the new ones.

| old id | new id |
| --- | --- |
"""


def page() -> str:
    """The whole page."""
    pairs = sorted((old, new) for new, olds in OLD_IDS.items() for old in olds)
    return _HEAD + "".join(f"| `{old}` | [{new}]({new}.md) |\n" for old, new in pairs)
