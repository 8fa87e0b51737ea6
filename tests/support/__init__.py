"""The fault harness: real servers, real sockets, real processes, and an exact account of what became of each event.

Promise: what a test injects did happen (every injector counts what it fired), and what a test calls accepted is what
its own program saw return. Never patches Spanloom, never waits without a deadline, never leaves a process behind.

    oracle         an HTTP endpoint in a process of its own that remembers what it acknowledged
    oracle_log     the questions to ask of it: what is missing, unknown, sent twice, visible twice, out of order
    toxic          a TCP proxy that breaks the connection in the way a test asks for
    children       runs Python source in a subprocess under a hard deadline
    program        what such a program says about itself: which events were accepted, when it was done
    balance        the ledger's identity, exactly
    host_guard     nothing of ours in the host's hooks, warnings and logs
    jumping        a program's clocks jump, as after a real step of the clock
    stalling       a program's disk that stops answering
    volume         how many times a fault is tried: few in CI, many in a full run

See README.md beside this file.
"""
