"""A pydantic-ai agent with not one decorator: `instrument("pydantic-ai")` records agent, model calls and tools.

    pip install spanloom "pydantic-ai-slim[openai]"
    python framework_agent.py
    spanloom tree last

Offline it talks to a scripted model that ships with Spanloom; with OPENAI_API_KEY or OPENAI_BASE_URL set, to a real
one. `instrument("openai", "pydantic-ai")` is fine too: a call that both see is one run.
"""

import asyncio
import os

from openai import AsyncOpenAI
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

import spanloom
from spanloom.demo.model_server import ModelServer

spanloom.instrument("pydantic-ai")

agent = Agent(name="weather")


@agent.tool_plain
def get_weather_forecast(city: str) -> dict:
    """Get the weather forecast for a specific location."""
    return {"temperature": 72, "weather": "sunny"}


def open_client():
    if os.environ.get("OPENAI_API_KEY") or os.environ.get("OPENAI_BASE_URL"):
        return AsyncOpenAI(api_key=os.environ.get("OPENAI_API_KEY", "none"))
    return AsyncOpenAI(base_url=ModelServer().start().base_url, api_key="offline")


async def answer(question):
    async with open_client() as client:
        model = OpenAIChatModel("gpt-4o", provider=OpenAIProvider(openai_client=client))
        return (await agent.run(question, model=model)).output


if __name__ == "__main__":
    print(asyncio.run(answer("What's the weather in Boston?")))
