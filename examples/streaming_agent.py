"""A streaming agent: the answer reaches the user word by word, and is recorded as one message with its tokens.

    pip install spanloom openai
    python streaming_agent.py
    spanloom tree last

`reduce=` turns the chunks of a stream into what a reader wants to see: one output, and the usage that came last.
"""

import asyncio
import os

from openai import AsyncOpenAI

import spanloom
from spanloom.demo.model_server import ModelServer


def open_client():
    if os.environ.get("OPENAI_API_KEY") or os.environ.get("OPENAI_BASE_URL"):
        return AsyncOpenAI(api_key=os.environ.get("OPENAI_API_KEY", "none"))
    return AsyncOpenAI(base_url=ModelServer(chunk_seconds=0.02).start().base_url, api_key="offline")


client = open_client()


def one_message(chunks):
    """All the chunks of one stream -> the message that they add up to."""
    usage = next((chunk.usage for chunk in reversed(chunks) if chunk.usage), None)
    if usage:
        tokens = {"input": usage.prompt_tokens, "output": usage.completion_tokens}
        spanloom.current_run().set(usage=tokens, response_id=chunks[0].id)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    return {"role": "assistant", "content": text}


@spanloom.llm(name="gpt-4o", reduce=one_message)
async def stream_completion(messages):
    stream = await client.chat.completions.create(
        model="gpt-4o", messages=messages, stream=True, stream_options={"include_usage": True}
    )
    async for chunk in stream:
        yield chunk


@spanloom.agent(name="storyteller")
async def tell(question):
    """An async generator: the run is current while this body runs, and ends when the stream does."""
    async for chunk in stream_completion([{"role": "user", "content": question}]):
        if chunk.choices and chunk.choices[0].delta.content:
            yield chunk.choices[0].delta.content


async def main():
    async for words in tell("Tell me something about lighthouses."):
        print(words, end="", flush=True)
    print()
    await client.close()


if __name__ == "__main__":
    asyncio.run(main())
