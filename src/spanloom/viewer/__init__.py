"""Pages over a store: what agents did, in a browser, from files that come in the wheel.

    routes.pages(parts), .data(parts)   the pages; their data as JSON and the live tail: to be mounted on the collector
    export.page(tree)           one trace as one HTML file that opens anywhere, without any script
    page_path(run_id)           where a run is shown, below the server's address

Theory of operation. ``index.html`` is the same for every page; its ES modules (``static/js``) read the address, ask
``/view/…`` for JSON and draw. Whatever was recorded reaches the document as text nodes and attributes only: there is no
``innerHTML`` in our code, and the content security policy forbids inline scripts, foreign origins and, by trusted
types, every way of turning text into markup.

Promises: reads only; feedback is given through the collector's own PATCH. A question that takes too long is a 503
that says so. Only `routes` needs the extra ``serve``. Must never: load anything from another origin, or run what was
recorded.
"""

from __future__ import annotations

from .addresses import PAGES, page_path

__all__ = ["PAGES", "page_path"]
