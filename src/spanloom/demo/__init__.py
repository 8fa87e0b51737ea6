"""The demo: an example agent, a scripted model for it to talk to, and the command that shows both.

`script` says what the model answers, `model_server` answers it over HTTP, `weather` is the agent, `run` is what
``spanloom demo`` calls. Never imported by recording, shipping or the collector; talks to 127.0.0.1 only.
"""
