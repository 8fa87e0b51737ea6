"""The demo: an example agent, a scripted model for it to talk to, and what ``spanloom demo`` does with them.

`script` says what the model answers, `model_server` answers it over HTTP, `weather` is the agent, and
``spanloom.demo.run.run_demo`` runs it. Never imported by recording, shipping or the collector; talks to 127.0.0.1 only.
"""
