"""The viewer on the collector: what the commands that start a server mount beside its own routes.

Promise: the page and its files are served without a credential, because they hold no data; data never is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..collector.mounts import Mount


def mounts() -> list[Mount]:
    """The viewer's mounts. Raises ModuleNotFoundError where the extra ``serve`` is not installed."""
    from .. import viewer
    from ..collector.mounts import Mount

    first, *others = viewer.PAGES
    return [
        Mount(viewer.pages, prefix=first, own_credentials=True),
        *(Mount(lambda parts: (), prefix=path, own_credentials=True) for path in others),
        Mount(viewer.data, prefix="/view"),
    ]
