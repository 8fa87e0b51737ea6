"""The guides are true: every setting, variable, command and link that they name exists, and none is left out."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

import spanloom
from spanloom import cli, settings

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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_public_names_in_the_guides_exist(page: Path) -> None:
    """`spanloom.something` on a page is a name that the front door hands out."""
    named = set(re.findall(r"\bspanloom\.([a-z_]+|[A-Z][A-Za-z]+)\b(?!\.py)", page.read_text("utf-8")))
    rooms = {path.stem for path in (ROOT / "src" / "spanloom").iterdir()} | {"run_id"}  # spanloom.run_id: an attribute
    assert {name for name in named - rooms if not hasattr(spanloom, name)} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_the_guides_exist(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`spanloom word` in code type is a command of the terminal, which shows its help."""
    for command in set(re.findall(r"`spanloom ([a-z]+)", page.read_text("utf-8"))):
        with pytest.raises(SystemExit) as left:
            cli.main([command, "--help"])
        assert left.value.code == 0, f"{page.name} names `spanloom {command}`"
        assert capsys.readouterr().out


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_in_the_guides_compiles(page: Path) -> None:
    """Every Python block of a page is Python."""
    for block in re.findall(r"^```python\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL):
        compile(block, page.name, "exec")
