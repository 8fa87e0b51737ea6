"""Which store a command reads, and which run an abbreviation means.

Promises: before anything is read from the machine's own store, the journals that dead processes left for it are taken
in; a store that is not there, and an id that means several runs, are said with what to do.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import StoreError
from ..settings import from_env
from ..store import DEFAULT_PROJECT, Reader
from .problem import Problem


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of every command that reads a store."""
    parser.add_argument("--store", metavar="PATH", help="the store's file (default: this user's own)")
    parser.add_argument("--project", metavar="NAME", help="the project, in a collector's store that has several")


def store_path(given: str | None = None) -> Path:
    """The store's file: as given, or this user's own. Raises Problem when there is no such place."""
    if given is not None:
        return Path(given).expanduser().absolute()
    settings = from_env()
    for named in settings.destinations or ():
        if named.name == "local" and "path" in named.arguments:
            return Path(named.arguments["path"]).expanduser().absolute()
    if settings.local_store_path is None:
        raise Problem("this user has no home directory: set SPANLOOM_HOME, or give --store PATH")
    return settings.local_store_path


def open_reader(arguments: argparse.Namespace) -> Reader | None:
    """The store, up to date; None when nothing has been recorded yet. Raises Problem for a path given by hand that is
    not there."""
    path = store_path(arguments.store)
    if arguments.store is None:
        take_in_journals()
    reader = Reader(path, deadline_seconds=10.0)
    try:
        reader.projects()
        return reader
    except StoreError as error:
        if error.reason != "missing":
            raise
    if arguments.store is not None:
        raise no_store_at(path)
    return None


def no_store_at(path: Path) -> Problem:
    """What to say of a path given by hand that is not there."""
    return Problem(f"there is no store at {path}: give the path of a file that `spanloom serve` or Local() wrote")


def take_in_journals() -> None:
    """Deliver what dead processes left in their journals for the local store."""
    from .. import pipeline

    catch_up = getattr(pipeline, "catch_up", None)
    if catch_up is not None:
        catch_up()


def project_of(reader: Reader, arguments: argparse.Namespace) -> str:
    """The project that was asked for, or the only one there is. Raises Problem naming the choice."""
    known = reader.projects()
    if arguments.project is not None:
        if arguments.project not in known:
            raise Problem(f"no project {arguments.project!r} in {reader.path}: {_listed(known)}")
        return str(arguments.project)
    if DEFAULT_PROJECT in known or not known:
        return DEFAULT_PROJECT
    if len(known) > 1:
        raise Problem(f"{reader.path} has several projects: choose by --project; {_listed(known)}")
    return known[0]


def _listed(names: list[str]) -> str:
    return f"there are {', '.join(names[:20])}" if names else "there is none yet"


def run_id_of(reader: Reader, text: str, project: str) -> str:
    """The id that an abbreviation means: ``last``, an id, or its beginning or end. Raises Problem."""
    if text == "last":
        latest = reader.latest(project=project)
        if latest is None:
            raise Problem("nothing has been recorded yet: run `spanloom demo`, or a program that uses Spanloom")
        return latest
    try:
        found = reader.find(text, project=project)
    except StoreError as error:
        if error.reason != "timeout":
            raise
        raise Problem(f"looking for {text!r} took too long: give the whole id") from error
    if not found:
        raise Problem(f"no run whose id begins or ends with {text!r}: `spanloom runs` lists what there is")
    if len(found) > 1:
        listed = "\n  ".join(found)
        raise Problem(f"{text!r} means several runs: give more of the id\n  {listed}")
    return found[0]
