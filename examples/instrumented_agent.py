"""The weather agent with its model calls recorded by `instrument("openai")`: decorators for what is yours, none at the
calls.

    pip install "spanloom[openai]" openai
    python instrumented_agent.py
    spanloom tree last

Offline it talks to a scripted model that ships with Spanloom; with OPENAI_API_KEY or OPENAI_BASE_URL set, to a real
one.
"""

import json
import os

from openai import OpenAI

import spanloom
from spanloom.demo.model_server import ModelServer

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather_forecast",
            "description": "Get the weather forecast for a specific location.",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
]

spanloom.instrument("openai")


def open_client():
    if os.environ.get("OPENAI_API_KEY") or os.environ.get("OPENAI_BASE_URL"):
        return OpenAI(api_key=os.environ.get("OPENAI_API_KEY", "none"))
    return OpenAI(base_url=ModelServer().start().base_url, api_key="offline")


client = open_client()


@spanloom.tool
def get_weather_forecast(city: str) -> dict:
    return {"temperature": 72, "weather": "sunny"}


@spanloom.agent(name="my-super-agent")
def answer(question):
    messages = [{"role": "user", "content": question}]
    while True:
        reply = client.chat.completions.create(model="gpt-4o", messages=messages, tools=TOOLS)
        message = reply.choices[0].message
        if not message.tool_calls:
            return message.content
        messages.append(message.model_dump(exclude_none=True))
        for call in message.tool_calls:
            result = get_weather_forecast(**json.loads(call.function.arguments))
            messages.append({"role": "tool", "tool_call_id": call.id, "content": json.dumps(result)})


if __name__ == "__main__":
    print(answer("What's the weather in Boston?"))
