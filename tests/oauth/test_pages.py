"""The pages of the callback server: accessible, self-contained, and consistent with their security policy."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest

from portico.oauth.pages import CSS, PAGES, SECURITY_HEADERS

HTML = {name: page.html().decode() for name, page in PAGES.items()}
VARIABLES = re.compile(r"--([\w-]+):(#[0-9a-f]{3,6})")


class Outline(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs


def luminance(colour: str) -> float:
    digits = colour.lstrip("#")
    digits = "".join(digit * 2 for digit in digits) if len(digits) == 3 else digits
    channels = [int(digits[start : start + 2], 16) / 255 for start in (0, 2, 4)]
    red, green, blue = (value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("html", HTML.values(), ids=HTML)
def test_a_page_has_a_language_a_title_one_heading_a_main_landmark_and_a_status(html):
    outline = Outline(html)

    assert ("lang", "en") in outline.attributes
    assert [outline.tags.count(tag) for tag in ("title", "h1", "main", "footer")] == [1, 1, 1, 1]
    assert any(item in outline.attributes for item in (("role", "status"), ("role", "alert")))
    assert ("aria-hidden", "true") in outline.attributes
    assert ("content", "width=device-width, initial-scale=1") in outline.attributes


@pytest.mark.parametrize("html", HTML.values(), ids=HTML)
def test_a_page_loads_nothing_and_runs_nothing(html):
    outline = Outline(html)

    assert not {"script", "img", "iframe", "object", "form", "a", "base"} & set(outline.tags)
    assert [value for name, value in outline.attributes if name in {"href", "src"}] == ["data:,"]
    assert not [name for name, _ in outline.attributes if name.startswith("on") or name == "style"]
    assert "url(" not in CSS
    assert "@import" not in CSS


def test_the_policy_admits_exactly_this_style_sheet():
    digest = base64.b64encode(hashlib.sha256(CSS.encode()).digest()).decode()

    assert f"style-src 'sha256-{digest}';" in SECURITY_HEADERS["Content-Security-Policy"]
    assert all(f"<style>{CSS}</style>" in html for html in HTML.values())


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast_in_both_schemes(scheme):
    light, _, dark_rules = CSS.partition("@media (prefers-color-scheme:dark)")
    colours = dict(VARIABLES.findall(light if scheme == "light" else dark_rules))

    assert contrast(colours["text"], colours["card"]) >= 7
    assert contrast(colours["soft"], colours["card"]) >= 7
    assert contrast(colours["soft"], colours["bg"]) >= 7
    for tone in ("good", "bad", "plain"):
        assert contrast(colours[tone], colours[f"{tone}-bg"]) >= 4.5


def test_pages_adapt_to_phones():
    assert "@media (max-width:30rem)" in CSS
    assert "max-width:28rem" in CSS
