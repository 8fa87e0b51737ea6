"""The guides are true: every setting, variable, command and link that they name exists, and none is left out."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from spanloom import settings

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")])
VARIABLE = re.compile(r"\b(?:SPANLOOM|LUNARY)_[A-Z_]+\b|\bTRACEPARENT\b")
# Read by the tests and the harness, not by the library.
OURS_ALONE = re.compile(r"SPANLOOM_(?:FAULTS|HYPOTHESIS|BENCH)")


def variables_read() -> set[str]:
    """Every variable that settings.py names."""
    return set(VARIABLE.findall(Path(settings.__file__).read_text("utf-8")))


def test_every_setting_is_in_the_configuration_guide() -> None:
    """The table of settings lists each argument of configure() once, and nothing else, with its default."""
    page = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    rows = re.findall(r"^\| `([a-z_]+)` \|(.*?)\| `(.*?)` \|", page, re.MULTILINE)
    assert sorted(name for name, _, _ in rows) == sorted(settings.CONFIGURABLE)
    defaults = {item.name: item.default for item in fields(settings.Settings)}
    said = {name: default.replace('"', "'") for name, _, default in rows if name != "destinations"}
    assert said == {name: repr(defaults[name]) for name in said}


def test_every_variable_is_in_the_configuration_guide() -> None:
    """The guide names the variables that the library reads, all of them and no other."""
    page = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    assert set(VARIABLE.findall(page)) == variables_read()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_names_a_variable_that_nobody_reads(page: Path) -> None:
    """A variable in a guide that the library does not read would be advice that does nothing."""
    named = {name for name in VARIABLE.findall(page.read_text("utf-8")) if not OURS_ALONE.match(name)}
    assert named <= variables_read()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_inside_the_repository_lead_somewhere(page: Path) -> None:
    """Every relative link of a page is a file that exists."""
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text("utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
