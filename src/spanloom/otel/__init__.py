"""OpenTelemetry in the same process: the host's trace contains our runs, and its inner spans become their children.

Promise: nothing here is imported, looked at or paid for unless the host has loaded OpenTelemetry itself.
"""
