"""Every kind of decorated thing, typed: mypy --strict and pyright must find no error here. Never run, only read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Iterator

from typing_extensions import assert_type

import spanloom
from spanloom import Run, agent, chain, embed, llm, retriever, tool


@agent
def answer(question: str) -> str:
    return question


@tool(name="search", tags=["web"], metadata={"region": "eu"}, capture_input=True, capture_output=True)
async def search(query: str, *, limit: int = 5) -> list[str]:
    return [query] * limit


@llm("gpt-4o", params={"temperature": 0}, reduce=lambda chunks: "".join(chunks), ignore=(TimeoutError,))
def stream(prompt: str) -> Iterator[str]:
    yield prompt


@llm
async def stream_later(prompt: str) -> AsyncIterator[str]:
    yield prompt


@chain(capture_input=["a"], process_input=repr, process_output=repr, ignore=KeyError)
def talk(a: int) -> Generator[int, str, bool]:
    yield a
    return True


@embed
def vectors(*texts: str, **options: int) -> list[list[float]]:
    return []


@retriever
class Documents:
    def __init__(self, path: str) -> None:
        self.path = path

    @tool
    def find(self, words: str) -> int:
        return len(words)

    @tool
    @staticmethod
    def static_above(x: int) -> int:
        return x

    @tool
    @classmethod
    def class_above(cls, x: int) -> str:
        return str(x)

    @staticmethod
    @tool
    def static_below(x: int) -> int:
        return x

    @classmethod
    @tool
    def class_below(cls, x: int) -> Documents:
        return cls(str(x))


assert_type(answer("q"), str)
assert_type(stream("p"), Iterator[str])
assert_type(stream_later("p"), AsyncIterator[str])
assert_type(talk(1), Generator[int, str, bool])
assert_type(vectors("a", b=1), list[list[float]])
documents = Documents("p")
assert_type(documents, Documents)
assert_type(documents.find("x"), int)
assert_type(Documents.static_above(1), int)
assert_type(Documents.static_below(1), int)
assert_type(Documents.class_below(1), Documents)
assert_type(Documents.class_above(1), str)
assert_type(spanloom.traced(answer, "q"), tuple[str, Run])
assert_type(spanloom.traced(documents.find, "q"), tuple[int, Run])
assert_type(spanloom.current_run(), Run)
assert_type(spanloom.start("llm", name="m", input=[1], parent=None), Run)
assert_type(spanloom.carry(answer)("q"), str)


async def main() -> None:
    assert_type(await search("q"), list[str])
    assert_type(await spanloom.traced(search, "q", limit=2), tuple[list[str], Run])
    async with agent("outer", input={"x": 1}, parent="01a1fc35-d563-75d7-8204-4797c5ef7511") as run:
        assert_type(run, Run)
        async with spanloom.context(user="u"), spanloom.disabled(), spanloom.extract({"traceparent": "x"}):
            pass


with llm("gpt-4o", input=[{"role": "user"}], params={"temperature": 0}, parent=spanloom.current_run()) as run:
    assert_type(run, Run)
    run.set(output="o", usage={"input": 50, "output": 100}, model="m", cost=0.1, tags=["t"], metadata={"k": 1})
    run.event("retry", attempt=2)
    run.feedback(thumb="up", comment="Great")
    assert_type(run.id, str)
    assert_type(run.parent_id, "str | None")
    assert_type(run.url, "str | None")
with spanloom.context(
    user="u1", user_props={"plan": "pro"}, thread="t9", tags=["prod"], metadata={"a": 1}, customer="c", key="order-42"
):
    answer("hi")
with spanloom.thread("thread-id").chat("What's the weather?") as chat:
    chat.reply(answer("What's the weather?"))
    assert_type(chat.id, str)
    chat.feedback(thumb="up")
spanloom.feedback(chat.id, thumb="down", score=0.9, label="helpful", overwrite=False)
spanloom.feedback(key="order-42", thumb=None)
spanloom.action("llm_call", customer="cust_1", value=1, properties={"a": 1}, labels={"b": "c"}, run=chat)
spanloom.outcome("job_succeeded", customer="cust_1", idempotency_key="k")
headers: dict[str, str] = {}
spanloom.inject(headers)
