"""Importing a heavy package on a thread of ours so that the host never meets it half made.

Theory of operation. While a package is imported it already stands in ``sys.modules``, without most of its names. Host
code that looks there instead of importing (the official ``openai`` client 3.x looks for ``httpx`` at each request and
takes its ``Timeout``) would fail with an AttributeError of our making. So the package is made as a module whose missing
names wait, on any other thread, until its import has ended, by importing it: Python's own lock per module does the
waiting, and undoes circles of it.

And a fork in the middle of any import would leave the child with a module's lock whose owner does not exist there, so
that its next import of the module hangs for ever. So all that our threads import, they import in an `unforked` block
(the preparation of destinations, which also builds what imports lazily); a fork waits for its end, at most 2 s.

Promises: costs nothing once the package is there. Raises ImportError as the import would. Must never: leave a finder
behind, pass over the host's own finders and import hooks, or touch a package that is there already.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any, cast

from ..native import allocate_rlock, get_ident

_FORK_WAITS_SECONDS = 2.0

_importing = allocate_rlock()  # held in an `unforked` block, and by a thread that forks
_importer = 0  # the thread that is importing, or 0


def import_unseen(name: str, *, without: str = "") -> ModuleType:
    """The package of this name, imported if need be. Raises ImportError when there is none. ``without`` names a module
    that the package can do without: while we import, there is none of this name."""
    global _importer
    if name in sys.modules:
        return import_module(name)  # waits, should the host be importing it
    with unforked():
        finder = _Finder(name, without)
        _importer = get_ident()
        sys.meta_path.insert(0, finder)
        try:
            return import_module(name)
        finally:
            _importer = 0
            try:
                sys.meta_path.remove(finder)
            except ValueError:  # the host has replaced the list's content meanwhile
                pass


@contextmanager
def unforked() -> Iterator[None]:
    """No other thread forks this process before the block's end, unless it lasts longer than 2 s."""
    with _importing:
        yield


class _HalfMade(ModuleType):
    """A module that is being imported by us. Its class is the ordinary one as soon as it is whole."""

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("__") and get_ident() != _importer:
            import_module(self.__name__)  # returns when the import has ended
            return ModuleType.__getattribute__(self, name)
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")


class _Finder(MetaPathFinder):
    """Asks the host's finders for one package, and has it made as a `_HalfMade`."""

    def __init__(self, name: str, without: str) -> None:
        self._name: str | None = name
        self._without = without

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        """None for everything else, and for every thread but ours."""
        if name == self._without and get_ident() == _importer:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        if name != self._name or get_ident() != _importer:
            return None
        self._name = None  # the search below comes by here again
        spec = find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = cast(Any, _Loader(spec.loader))
        return spec


class _Loader:
    """Stands for the package's own loader until the module has been made."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The module; the package's own loader decides first."""
        made = self._inner.create_module(spec)
        return _HalfMade(spec.name) if made is None else made

    def exec_module(self, module: ModuleType) -> None:
        """Run the package, with its own loader named in the module again."""
        module.__loader__ = self._inner
        if module.__spec__ is not None:
            module.__spec__.loader = self._inner
        self._inner.exec_module(module)
        if isinstance(module, _HalfMade):
            cast(Any, module).__class__ = ModuleType


def _before_fork() -> None:
    _importing.acquire(timeout=_FORK_WAITS_SECONDS)


def _after_in_parent() -> None:
    try:
        _importing.release()
    except RuntimeError:
        pass  # the time was over before we had it


def _after_in_child() -> None:
    global _importing, _importer
    _importing, _importer = allocate_rlock(), 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
