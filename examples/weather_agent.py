"""A weather agent, recorded: a conversation, an agent, two model calls, one tool, and the user's thumb up.

    pip install spanloom openai
    python weather_agent.py
    spanloom tree last

Offline it talks to a scripted model that ships with Spanloom; with OPENAI_API_KEY or OPENAI_BASE_URL set, to a real
one. Runs go to the store on this machine, or where LUNARY_PUBLIC_KEY or SPANLOOM_* say.
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


def open_client():
    if os.environ.get("OPENAI_API_KEY") or os.environ.get("OPENAI_BASE_URL"):
        return OpenAI(api_key=os.environ.get("OPENAI_API_KEY", "none"))
    return OpenAI(base_url=ModelServer().start().base_url, api_key="offline")


client = open_client()


@spanloom.tool
def get_weather_forecast(city: str) -> dict:
    return {"temperature": 72, "weather": "sunny"}


def complete(messages, **params):
    """One model call: `with llm(...)` records the messages, the parameters, the answer and the tokens."""
    with spanloom.llm("gpt-4o", input=messages, params=params) as run:
        reply = client.chat.completions.create(model="gpt-4o", messages=messages, **params)
        message = reply.choices[0].message.model_dump(exclude_none=True)
        tokens = {"input": reply.usage.prompt_tokens, "output": reply.usage.completion_tokens}
        run.set(output=message, usage=tokens, response_id=reply.id)
    return message


@spanloom.agent(name="my-super-agent")
def answer(question):
    messages = [{"role": "user", "content": question}]
    message = complete(messages, tools=TOOLS)
    while message.get("tool_calls"):
        messages.append(message)
        for call in message["tool_calls"]:
            result = get_weather_forecast(**json.loads(call["function"]["arguments"]))
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": json.dumps(result)})
        message = complete(messages)
    return message["content"]


if __name__ == "__main__":
    question = "What's the weather in Boston?"
    with spanloom.thread().chat(question) as chat:  # the user's message opens the exchange
        chat.reply(answer(question))  # the assistant's closes it
    chat.feedback(thumb="up", comment="Great response!")
    print(chat.id)
