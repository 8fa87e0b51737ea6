"""A team of agents on threads and in other processes, recorded as one tree.

    pip install spanloom openai
    python research_team.py
    spanloom tree last

Three ways for work to leave the task it belongs to, and to stay in its tree all the same:
`carry(fn)` for an executor; `propagate_threads=True` for threads that someone else starts; `inject` and `extract` for
another process.
"""

import multiprocessing
import os
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

from openai import OpenAI

import spanloom
from spanloom.demo.model_server import ModelServer


def open_client():
    if os.environ.get("OPENAI_API_KEY") or os.environ.get("OPENAI_BASE_URL"):
        return OpenAI(api_key=os.environ.get("OPENAI_API_KEY", "none"))
    return OpenAI(base_url=ModelServer().start().base_url, api_key="offline")


def ask(client, question):
    messages = [{"role": "user", "content": question}]
    with spanloom.llm("gpt-4o", input=messages) as run:
        reply = client.chat.completions.create(model="gpt-4o", messages=messages)
        message = reply.choices[0].message.model_dump(exclude_none=True)
        tokens = {"input": reply.usage.prompt_tokens, "output": reply.usage.completion_tokens}
        run.set(output=message, usage=tokens, response_id=reply.id)
    return message["content"]


@spanloom.agent(name="researcher", capture_input=["topic"])
def research(topic, client):
    return ask(client, f"What should I know about {topic}?")


@spanloom.agent(name="critic", capture_input=["notes"])
def criticise(notes, client, remarks):
    remarks.append(ask(client, f"What is missing about {notes[0]}?"))


@spanloom.tool
def count_words(text):
    return len(text.split())


def count_words_elsewhere(headers, text):
    """Runs in another process: the headers say which run it belongs to."""
    with spanloom.extract(headers):
        return count_words(text)


@spanloom.agent(name="editor", capture_input=["topics"])
def write_report(topics, client):
    with ThreadPoolExecutor(max_workers=len(topics)) as pool:
        notes = list(pool.map(spanloom.carry(research), topics, [client] * len(topics)))

    remarks = []
    critic = threading.Thread(target=criticise, args=(notes, client, remarks))
    critic.start()
    critic.join()

    headers = {}
    spanloom.inject(headers)  # a plain mapping: it travels as HTTP headers or as an argument
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=2, mp_context=spawn) as pool:
        words = sum(pool.map(count_words_elsewhere, [headers] * len(notes), notes))
    return {"notes": notes, "remarks": remarks, "words": words}


if __name__ == "__main__":
    spanloom.configure(propagate_threads=True)
    report = write_report(["tides", "harbours", "fog"], open_client())
    print(report["words"], "words")
