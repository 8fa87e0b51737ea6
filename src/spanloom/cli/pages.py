"""The viewer on the collector: what the commands that start a server mount beside its own routes.

Promise: the page and its files are served without a credential, and to whoever followed a link to them, because they
hold no data; data never is.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..collector.mounts import Mount


def mounts(*, choose: bool = False) -> list[Mount]:
    """The viewer's mounts; ``choose``: its pages offer all projects. Raises ModuleNotFoundError where the extra
    ``serve`` is not installed."""
    from ..collector.mounts import Mount
    from ..viewer import PAGES, routes

    first, *others = PAGES
    return [
        Mount(routes.pages, prefix=first, own_credentials=True, linkable=True),
        *(Mount(lambda parts: (), prefix=path, own_credentials=True, linkable=True) for path in others),
        Mount(functools.partial(routes.data, choose=choose), prefix="/view"),
    ]
