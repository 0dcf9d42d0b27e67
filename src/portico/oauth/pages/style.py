"""The style sheet and the symbols of the pages. Colours keep a contrast of 7:1 for text, light and dark."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

CSS: Final = """
:root{color-scheme:light dark;--bg:#f4f5f7;--card:#fff;--text:#1b1f24;--soft:#4a5260;--line:#dfe3e8;--good:#0b6b3a;
--good-bg:#e3f5ea;--bad:#a3201b;--bad-bg:#fdebea;--plain:#274690;--plain-bg:#e8edfb}
@media (prefers-color-scheme:dark){:root{--bg:#101318;--card:#191e25;--text:#eef1f5;--soft:#b4bdc9;--line:#2b323c;
--good:#6fdb9f;--good-bg:#12301f;--bad:#ff9d97;--bad-bg:#3a1716;--plain:#a9c1ff;--plain-bg:#1b2643}}
*{box-sizing:border-box}
body{margin:0;min-height:100vh;min-height:100dvh;display:flex;flex-direction:column;align-items:center;justify-content:center;
padding:1.5rem;background:var(--bg);color:var(--text);
font:1rem/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
main{width:100%;max-width:28rem;background:var(--card);border:1px solid var(--line);border-radius:1rem;padding:2.5rem 2rem;
text-align:center;box-shadow:0 1px 2px rgb(0 0 0/.05),0 12px 32px rgb(0 0 0/.07)}
svg{width:4rem;height:4rem;padding:1rem;border-radius:50%;fill:none;stroke:currentColor;stroke-width:2.5;
stroke-linecap:round;stroke-linejoin:round}
.good svg{color:var(--good);background:var(--good-bg)}
.bad svg{color:var(--bad);background:var(--bad-bg)}
.plain svg{color:var(--plain);background:var(--plain-bg)}
h1{margin:1.25rem 0 .5rem;font-size:1.5rem;line-height:1.25;text-wrap:balance}
p{margin:0;overflow-wrap:anywhere}
.next{margin-top:1.25rem;padding-top:1.25rem;border-top:1px solid var(--line);color:var(--soft)}
footer{margin-top:1.25rem;color:var(--soft);font-size:.875rem;letter-spacing:.04em}
@media (max-width:30rem){main{padding:2rem 1.25rem;border-radius:.75rem}h1{font-size:1.3rem}}
@media (forced-colors:active){svg{border:2px solid}}
"""

_SVG: Final = '<svg viewBox="0 0 24 24" aria-hidden="true">{}</svg>'
SYMBOLS: Final[Mapping[str, str]] = {
    "good": _SVG.format('<path d="M4 12.5l5.5 5.5L20 6.5"/>'),
    "bad": _SVG.format('<path d="M6 6l12 12M18 6L6 18"/>'),
    "plain": _SVG.format('<path d="M12 11v6M12 7h.01"/>'),
}
