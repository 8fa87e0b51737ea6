"""The Lunary dialect: both ends of ``POST /v1/runs/ingest``. What is written is the guide's, what is read is wider.

Facts, from Lunary's guide "Sending Events via the Lunary API" (G) and its public backend, Apache-2.0, of 2025-10 (B):

- The body is ``{"events": Event | Event[]}``; the key goes into ``Authorization: Bearer``. (G)
- Event kinds: start, end, error, feedback, chat (G), update, custom-event (B).
- A chat needs ``parentRunId``, the thread; one run id serves the user's message and the answer to it. (G)
- The server sorts a batch by time, in milliseconds, stably; it answers 200 with one result per event in that order,
  ``{"results": [{"id", "success", "error"?}]}``: failures of single events hide inside the 200. (B)
- A start whose id exists fails with "Run with this ID already exists"; every other event just updates. (B)
- name, tags, params, templateVersionId and userId count on start; output and tokensUsage on end; metadata on both,
  merged; an error event carries the error alone. So an error is an ``end`` followed by an ``error``. (B)
- metadata keeps strings, numbers, booleans and lists of those; anything nested is dropped there unless it is text. (B)
- A boolean input, a templateVersionId that is no integer, and a NUL each cost the whole event. (B)
- An event with a userId and no userProps wipes the stored ones. (B)

What we add to the guide's fields: ``timestamp`` on feedback (the server's sort breaks without), ``parentRunId``,
``metadata`` and ``tokensUsage`` wherever we know them, ``runtime``. What has no place at Lunary: updates (the end
carries the same), points, actions, outcomes, loss reports; see `refusal`.

Must never: parse users' content on the way out (only a boolean input and nested metadata are looked into), raise
anything but WireError on the way in, or let one bad event spoil its neighbours.
"""

from __future__ import annotations

from .lunary_reading import read_request
from .lunary_reply import read_reply, write_reply
from .lunary_writing import KINDS, Options, refusal, write_request

__all__ = ["KINDS", "Options", "read_reply", "read_request", "refusal", "write_reply", "write_request"]
