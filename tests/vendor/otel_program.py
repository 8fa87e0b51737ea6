"""The weather example, a failing tool and a retry in a point, for an OTLP server; prints the ids as JSON.

Where it sends to is said by the environment (SPANLOOM_DESTINATIONS=otlp, SPANLOOM_OTLP_URL, SPANLOOM_OTLP_HEADERS).
"""

import json
import runpy
from pathlib import Path

import spanloom

EXAMPLE = Path(__file__).parents[2] / "examples" / "weather_agent.py"

example = runpy.run_path(str(EXAMPLE))


@spanloom.tool
def book_table(city: str) -> dict:
    """Always fails."""
    raise LookupError(f"no table in {city}")


question = "What's the weather in Boston?"
with (
    spanloom.context(user="u1", tags=["prod"], metadata={"region": "eu"}),
    spanloom.thread("session-1").chat(question) as chat,
):
    with spanloom.agent("concierge", input=question) as concierge:
        concierge.event("retry", attempt=2)
        reply = example["answer"](question)
        try:
            book_table("Boston")
        except LookupError:
            pass
        concierge.set(output=reply)
    chat.reply(reply)
chat.feedback(thumb="up", comment="Great response!")
flushed = spanloom.flush(20)
(counts,) = spanloom.health().destinations.values()
print(json.dumps({"root": chat.id, "reply": reply, "flushed": flushed, "health": str(counts)}))
