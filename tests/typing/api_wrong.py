"""Wrong uses of the API: each line that ends in `# wrong` must be reported by mypy and by pyright. Never run."""

from __future__ import annotations

import spanloom
from spanloom import agent, llm, tool


@agent
def answer(question: str) -> str:
    return question


class Desk:
    @tool
    def find(self, words: str) -> int:
        return len(words)


answer(5)  # wrong
answer()  # wrong
answer("q", config=1)  # wrong
number: int = answer("q")  # wrong
Desk().find(5)  # wrong
agent(5)  # wrong
tool(tags=5)  # wrong
llm("gpt-4o", inptu=1)  # wrong
tool(capture_output="yes")  # wrong
spanloom.traced(answer, 5)  # wrong
spanloom.traced(answer)  # wrong
spanloom.current_run().set(usgae={"input": 1})  # wrong
spanloom.current_run().set(usage={"input": "many"})  # wrong
spanloom.current_run().set(cost="free")  # wrong
spanloom.feedback("id", thumb="sideways")  # wrong
spanloom.feedback("id", thmub="up")  # wrong
spanloom.context(user=5)  # wrong
spanloom.context(usr="u")  # wrong
spanloom.action(5)  # wrong
spanloom.outcome("o", value="x")  # wrong
spanloom.start("banana")  # wrong
spanloom.thread(5)  # wrong
spanloom.inject(5)  # wrong
