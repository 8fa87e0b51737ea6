"""The weather agent: one conversation in which an agent asks a model, calls a tool and asks again.

It is the example of Lunary's events guide (docs.lunary.ai, "Step 3: Advanced Traces"), run by run and field by field.
Promises: speaks plain HTTP to whatever base URL it is given and nothing else. Never configures Spanloom: where the
runs go is the caller's affair.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import httpx

import spanloom

QUESTION = "What's the weather in Boston?"
MODEL = "gpt-4o"
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather_forecast",
            "description": "Get the weather forecast for a specific location.",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": "The city for which to get the weather forecast."}
                },
                "required": ["city"],
            },
        },
    }
]


@spanloom.tool
def get_weather_forecast(city: str) -> dict[str, Any]:
    """The forecast for a city, which is always a fine day."""
    return {"temperature": 72, "weather": "sunny"}


class WeatherAgent:
    """Answers questions about the weather with a chat model at ``base_url`` (the URL that ends in ``/v1``)."""

    def __init__(self, base_url: str) -> None:
        # trust_env=False: a proxy set up for the outside world must not be asked for 127.0.0.1.
        self._http = httpx.Client(base_url=base_url, timeout=10, trust_env=False)

    @spanloom.agent(name="my-super-agent")
    def answer(self, question: str) -> str:
        """The answer to one question; raises httpx.HTTPError when the model cannot be reached or refuses."""
        messages: list[dict[str, Any]] = [{"role": "user", "content": question}]
        reply = self._complete(messages, tools=TOOLS)
        while calls := reply.get("tool_calls"):
            messages.append(reply)
            for call in calls:
                result = get_weather_forecast(**json.loads(call["function"]["arguments"]))
                messages.append({"role": "tool", "tool_call_id": call["id"], "content": json.dumps(result)})
            reply = self._complete(messages)
        return str(reply["content"])

    def close(self) -> None:
        """Close the connection to the model."""
        self._http.close()

    def _complete(self, messages: Sequence[dict[str, Any]], tools: list[Any] | None = None) -> dict[str, Any]:
        params = {"tools": tools} if tools else {}
        with spanloom.llm(MODEL, input=messages, params=params or None) as run:
            response = self._http.post("chat/completions", json={"model": MODEL, "messages": messages, **params})
            response.raise_for_status()
            body = response.json()
            message: dict[str, Any] = body["choices"][0]["message"]
            usage = body["usage"]
            run.set(
                output=message,
                usage={"input": usage["prompt_tokens"], "output": usage["completion_tokens"]},
                response_id=body["id"],
            )
        return message


class Exchange(NamedTuple):
    """One question and its answer: the ids of the thread and of the exchange in it, and the answer's text."""

    thread_id: str
    chat_id: str
    answer: str


def converse(base_url: str) -> Exchange:
    """Ask the agent one question as a user would, and give the answer a thumb up."""
    agent = WeatherAgent(base_url)
    thread = spanloom.thread()
    try:
        with thread.chat(QUESTION) as chat:
            answer = agent.answer(QUESTION)
            chat.reply(answer)
        chat.feedback(thumb="up", comment="Great response!")
        return Exchange(thread.id, chat.id, answer)
    finally:
        agent.close()
