"""Settings: arguments over environment over defaults; whatever is wrong is said with its cure and changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from spanloom.settings import Settings, data_home, from_env, with_arguments


def test_an_empty_environment_gives_the_defaults(tmp_path: Path) -> None:
    """Nobody has named a destination: None, which is not the same as an empty tuple."""
    settings = from_env({"SPANLOOM_HOME": str(tmp_path)})
    assert settings == Settings(home=tmp_path)
    assert settings.destinations is None
    assert settings.journal_home == tmp_path
    assert settings.local_store_path == tmp_path / "local.db"


@pytest.mark.parametrize(
    ("name", "text", "attribute", "value"),
    [
        ("SPANLOOM_ENABLED", "0", "enabled", False),
        ("SPANLOOM_CAPTURE_CONTENT", "off", "capture_content", False),
        ("SPANLOOM_STRICT", "TRUE", "strict", True),
        ("SPANLOOM_PROPAGATE_THREADS", "yes", "propagate_threads", True),
        ("SPANLOOM_PROPAGATE_PROCESSES", "yes", "propagate_processes", True),
        ("SPANLOOM_SAMPLE", "0.25", "sample", 0.25),
        ("SPANLOOM_EXIT_TIMEOUT_SECONDS", "7", "exit_timeout_seconds", 7.0),
        ("SPANLOOM_JOURNAL", "none", "journal", None),
        ("SPANLOOM_JOURNAL", "/var/spool/x", "journal", "/var/spool/x"),
        ("SPANLOOM_JOURNAL_SYNC", "power", "journal_sync", "power"),
        ("SPANLOOM_JOIN_OTEL", "off", "join_otel", False),
        ("SPANLOOM_SERVICE", "billing", "service", "billing"),
    ],
)
def test_each_variable_sets_its_setting(name: str, text: str, attribute: str, value: object) -> None:
    """One variable, one setting."""
    settings = from_env({name: text})
    assert getattr(settings, attribute) == value
    assert settings.problems == ()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("SPANLOOM_ENABLED", "maybe"),
        ("SPANLOOM_SAMPLE", "150%"),
        ("SPANLOOM_SAMPLE", "nan"),
        ("SPANLOOM_EXIT_TIMEOUT_SECONDS", "-1"),
        ("SPANLOOM_JOURNAL_SYNC", "always"),
        ("SPANLOOM_DESTINATIONS", "lunar"),
    ],
)
def test_garbage_in_a_variable_is_said_and_changes_nothing(name: str, text: str) -> None:
    """C18: the sentence names the variable, the value and the cure."""
    settings = from_env({name: text})
    assert len(settings.problems) == 1
    assert name in settings.problems[0]
    assert repr(text) in settings.problems[0]
    assert "use" in settings.problems[0]
    assert Settings(home=settings.home, problems=settings.problems) == settings


def test_the_keys_that_users_already_have_name_their_destination() -> None:
    """LUNARY_PUBLIC_KEY alone turns Lunary on; its repr keeps the key to itself."""
    settings = from_env({"LUNARY_PUBLIC_KEY": "11111111-2222-4333-8444-555555555555", "LUNARY_API_URL": "http://h"})
    assert settings.destinations is not None
    (destination,) = settings.destinations
    assert destination.name == "lunary"
    assert destination.arguments == {"public_key": "11111111-2222-4333-8444-555555555555", "url": "http://h"}
    assert "11111111" not in repr(settings)


def test_spanloom_destinations_decides_when_it_is_set() -> None:
    """A list names destinations in its order and leaves out those that are only implied."""
    variables = {"LUNARY_PUBLIC_KEY": "k", "SPANLOOM_DESTINATIONS": "collector, local", "SPANLOOM_COLLECTOR_URL": "u"}
    destinations = from_env(variables).destinations
    assert destinations is not None
    assert [destination.name for destination in destinations] == ["collector", "local"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"sample": 2}, "configure(sample=2): give a number from 0 to 1"),
        ({"sample": True}, "configure(sample=True): give a number from 0 to 1"),
        ({"enabled": "yes"}, "configure(enabled='yes'): give True or False"),
        ({"journal": 7}, "configure(journal=7): give text or None"),
        ({"journal_sync": "disk"}, "configure(journal_sync='disk'): use one of 'process', 'power'"),
        ({"join_otel": 0}, "configure(join_otel=0): use one of 'child', 'link', False"),
        ({"redact": "all"}, "configure(redact='all'): give a function of (path, text), or None"),
        ({"destinations": "lunary"}, "configure(destinations='lunary'): give a list"),
        ({"colour": 1}, "configure() has no argument 'colour'"),
    ],
)
def test_a_wrong_argument_is_said_and_changes_nothing(arguments: dict[str, object], words: str) -> None:
    """C18: arguments of ``configure``."""
    settings = with_arguments(Settings(), arguments)
    assert settings.problems[0].startswith(words)
    assert Settings(problems=settings.problems) == settings


def test_arguments_stand_over_the_environment() -> None:
    """What the program says counts more than what its surroundings say."""
    base = from_env({"SPANLOOM_SAMPLE": "0.5", "SPANLOOM_SERVICE": "a"})
    settings = with_arguments(base, {"sample": 1, "journal": Path("/x")})
    assert (settings.sample, settings.service, settings.journal) == (1.0, "a", "/x")


def test_the_home_is_the_users_data_directory() -> None:
    """SPANLOOM_HOME first, then the platform's place."""
    assert data_home({"SPANLOOM_HOME": "/a"}) == Path("/a")
    assert data_home({"XDG_DATA_HOME": "/data"}) in (
        Path("/data/spanloom"),  # Linux
        Path.home() / "Library" / "Application Support" / "spanloom",  # macOS
    )
