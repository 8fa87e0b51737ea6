"""Bytes in: an HTTP server that takes what agents send, keeps it in the store, and reads it back.

    app.py     Lunary's API, and the list of everything that is mounted
    mounts.py  what a mount is, and what it may use
    edge.py    around every request: who is asking, what went wrong, security headers
    access.py  who may come in
    attempts.py  wrong keys, counted
    intake.py  what became of each event: nothing is acknowledged before it is committed
    body.py    a request's body, bounded before and after decompression
    desk.py    the threads that blocking work is done on, and how many may wait for them
    disk.py    refusing before the disk is full
    openapi.py  the API's description of itself
    rest.py    runs in the shapes of Lunary's public API
    protocol.py  HTTP/1.1 with an end to every wait for a client
    server.py  the server itself: `serve` for the command, `Running` inside another program

Needs the extra ``serve`` (Starlette, uvicorn); importing this package alone does not.
"""
