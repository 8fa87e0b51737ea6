"""A small agent as a user of the public ``lunary`` package writes it; run by that package's own environment.

Prints the ids that it knows, as JSON. Where the events go is said by LUNARY_PUBLIC_KEY and LUNARY_API_URL.
"""

import json

import lunary
from lunary.utils import create_uuid_from_string

APP_ID = lunary.get_config().app_id


def sent_id(run_id: str) -> str:
    """The id under which the package sends a run: a hash of the user's and the key."""
    return str(create_uuid_from_string(run_id + APP_ID))


@lunary.tool(name="get_weather_forecast")
def forecast(city: str) -> dict:
    return {"city": city, "temperature": 72, "weather": "sunny"}


@lunary.tool(name="broken")
def broken() -> None:
    raise ValueError("no such city")


@lunary.agent(name="my-super-agent", tags=["vendor"])
def answer(question: str) -> str:
    found = forecast("Boston")
    try:
        broken()
    except ValueError:
        pass
    return f"It is {found['weather']}."


QUESTION = "What's the weather in Boston?"
thread = lunary.open_thread(id="thread-1", tags=["support"], user_id="u1", user_props={"plan": "pro"})
message_id = thread.track_message({"id": "message-1", "role": "user", "content": QUESTION})
with lunary.identify("u1", {"plan": "pro"}), lunary.parent(message_id):
    reply = answer(QUESTION)
thread.track_message({"id": message_id, "role": "assistant", "content": reply})
thread.track_event("resolved", metadata={"by": "agent"})
lunary.track_feedback(message_id, {"thumb": "up", "comment": "Great response!"})

print(json.dumps({"thread": sent_id("thread-1"), "chat": sent_id(message_id), "reply": reply}))
