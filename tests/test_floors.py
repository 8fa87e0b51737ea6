"""The house keeps its floors: a room imports only from lower floors, and rooms on one floor do not know each other."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "spanloom"

FLOOR = {
    "errors": -1,  # the cellar: everything may raise its own errors
    "clock": 0, "native": 0, "records": 0, "wire": 0,
    "encoder": 1, "redaction": 1, "settings": 1, "prices": 1,
    "dialects": 2,
    "recording": 3, "shipping": 3, "store": 3,
    "otel": 4, "middleware": 4, "outgoing": 4, "collector": 4, "viewer": 4,
    "pipeline": 5,
    "testing": 6,
    "__init__": 7,
    "demo": 8,  # a user's program, written with the front door
    "cli": 9,  # `spanloom demo` runs the demo and prints its tree: the demo does not know the terminal
    "__main__": 10,
}  # fmt: skip

# The doors behind which an import may wait until it is needed, and why.
LAZY_DOORS = {
    "httpx": {  # 84 to 140 ms, needed by the shipper only
        "shipping/transport.py",
        "demo/weather.py",  # the demo's agent is a user's program: it talks to its model by httpx
    },
    "sqlite3": {"store", "cli/doctor.py"},  # doctor names the version and what it can do
    "rich": {"cli"},
    "opentelemetry": {"otel", "shipping/transport.py", "dialects/otlp_proto.py"},
    "starlette": {"collector", "viewer"},
    "uvicorn": {"collector", "viewer"},
}

# The front door's heavy neighbours: none of these may load with the rooms that every traced program imports.
LIGHT_ROOMS = ("recording", "encoder", "redaction", "settings", "records", "clock", "wire", "errors", "pipeline")


def modules() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).with_suffix("").parts[0]


def imports(path: Path) -> Iterator[tuple[str, int, bool]]:
    """Every absolute module name that a file imports, its line, and whether the import stands inside a function."""
    tree = ast.parse(path.read_text("utf-8"))
    package = ["spanloom", *path.relative_to(SOURCE).with_suffix("").parts[:-1]]
    inside = {id(node) for function in ast.walk(tree) if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
              for node in ast.walk(function)}  # fmt: skip
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield name.name, node.lineno, id(node) in inside
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            for name in node.names:
                yield f"{stem}.{name.name}", node.lineno, id(node) in inside


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_room_imports_only_from_lower_floors(path: Path) -> None:
    """Function-level and TYPE_CHECKING imports count like any other."""
    room = room_of(path)
    assert room in FLOOR, f"{path} stands on no floor: give its room a place in FLOOR and in docs/architecture.md"
    for name, line, _ in imports(path):
        parts = name.split(".")
        if parts[0] != "spanloom" or len(parts) < 2 or parts[1] == room:
            continue
        target = parts[1] if parts[1] in FLOOR else "__init__"
        assert FLOOR[target] < FLOOR[room], f"{path.name}:{line} climbs from {room} to {target}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_an_import_waits_only_behind_a_named_door(path: Path) -> None:
    """Heavy packages are imported at one door each; a lazy import of anything else of ours hides a circle."""
    place = str(path.relative_to(SOURCE))
    for name, line, lazy in imports(path):
        top = name.split(".")[0]
        if top in LAZY_DOORS:
            allowed = LAZY_DOORS[top]
            assert any(place.startswith(door) for door in allowed), f"{place}:{line} imports {top} outside {allowed}"
        elif lazy and top == "spanloom" and room_of(path) in LIGHT_ROOMS and room_of(path) != "pipeline":
            raise AssertionError(f"{place}:{line} imports {name} inside a function: it hides a circle")


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_only_settings_reads_the_environment(path: Path) -> None:
    """One reader of the environment: os.environ and os.getenv stand in settings.py alone."""
    if path.name == "settings.py":
        return
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv", "environb"):
            raise AssertionError(f"{path.relative_to(SOURCE)}:{node.lineno} reads the environment")


def test_the_check_sees_a_climb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader of imports finds a climbing import inside a function (this test guards the guard)."""
    monkeypatch.setitem(globals(), "SOURCE", tmp_path)
    (tmp_path / "store").mkdir()
    climbing = tmp_path / "store" / "writer.py"
    climbing.write_text("def f():\n    from ..collector import app\n")
    assert list(imports(climbing)) == [("spanloom.collector.app", 2, True)]
    with pytest.raises(AssertionError, match="climbs from store to collector"):
        test_a_room_imports_only_from_lower_floors(climbing)
