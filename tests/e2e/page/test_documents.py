"""The pages about MiniMax in English and Turkish, and the one about providers: what they carry of the provider page, and each other."""

from __future__ import annotations

import re

import pytest

from tests.e2e.page.blocks_of_the_page import BLOCKS, PAGE
from tests.source_tree import ROOT

DOCS = ROOT / "docs"
ENGLISH, TURKISH = DOCS / "providers" / "minimax.md", DOCS / "providers" / "minimax.tr.md"
PROVIDERS = DOCS / "concepts" / "model-providers.md"
DOCUMENTS = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md"), *ROOT.glob("extensions/*/*.md")])
NAMES = (
    "Rust, Java, Go, C++, Kotlin, Objective-C",
    "Claude Code",
    "Cline, Kilo Code, Roo Code",
    "Lightning",
    "`models.json`",
    "api.minimax.io",
    "api.minimaxi.com",
    "coding_plan/remains",
    "https://platform.minimax.io/subscribe/coding-plan",
    "Unknown model: minimax/MiniMax-M2.1",
)


def text_of(path):
    return path.read_text(encoding="utf-8")


def blocks(path):
    return re.findall(r"^```(\w+)\n(.*?)^```$", text_of(path), re.MULTILINE | re.DOTALL)


def shape(path):
    """Everything but the prose: levels of headings, fences, rows of tables, items of lists, in their order."""
    marks = re.sub(r"```.*?```", "```", text_of(path), flags=re.DOTALL)
    return re.findall(r"^(#+|```|\||-|\d\.) ?", marks, re.MULTILINE)


@pytest.mark.parametrize("path", [ENGLISH, TURKISH])
def test_the_documents_carry_what_the_page_links_to_and_names(path):
    text = text_of(path)

    links = set(re.findall(r"\((https://[^)]+)\)", text_of(PAGE)))
    moved = {link for link in links if link.startswith("https://github.com/")}  # the plugin's README, which is here
    assert {link for link in links - moved if link not in text} == set()
    assert [name for name in NAMES if name not in text] == []
    referral = next(line for line in re.split(r"\n(?=[-|#])", text) if "code=DbXJTRClnb" in line)
    assert "**referral link**" in referral or "**referans bağlantısı**" in referral


@pytest.mark.parametrize("path", [ENGLISH, TURKISH])
def test_the_pages_json5_blocks_are_in_the_documents_to_the_letter_but_for_a_remark(path):
    without_remarks = {re.sub(r" //.*", "", body) for language, body in blocks(path) if language == "json5"}
    assert {text_of(block) for block in BLOCKS.glob("*.json5")} <= without_remarks


def test_the_two_languages_have_the_same_sections_blocks_tables_and_lists():
    assert shape(ENGLISH) == shape(TURKISH)
    assert blocks(ENGLISH) == blocks(TURKISH)


def test_every_link_within_the_documents_leads_somewhere():
    for path in DOCUMENTS:
        prose = re.sub(r"```.*?```|`[^`\n]*`", "", text_of(path), flags=re.DOTALL)
        targets = [target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", prose) if "://" not in target]
        assert [target for target in targets if target and not (path.parent / target).exists()] == [], path
