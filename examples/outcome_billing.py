"""An agent that resolves support tickets: every model call is metered, every resolved ticket billed, in two places.

    pip install 'spanloom[serve]' openai
    python outcome_billing.py
    python outcome_billing.py        # once more: no ticket is resolved twice, nothing is billed twice

Stop it in the middle (kill -9 too) and start it again: it goes on with the tickets that have no outcome yet, and what
was recorded before is delivered once. Offline it talks to a scripted model and to two collectors on this machine, which
stand in for Lumen and Valmi; with LUMEN_API_KEY, VALMI_API_KEY and VALMI_AGENT_KEY set, to those.
"""

import contextlib
import os
import pathlib

from openai import OpenAI

import spanloom
from spanloom.collector.server import Running
from spanloom.demo.model_server import ModelServer

TICKETS = {f"ticket-{number}": f"Tell me about order {number}." for number in range(1, 11)}
STEPS = ("Sort this ticket: ", "Draft an answer: ", "Check the answer: ")
HERE = pathlib.Path(os.environ.get("OUTCOME_BILLING_DIR", "outcome_billing"))
RESOLVED = HERE / "resolved.txt"


def open_client():
    if os.environ.get("OPENAI_API_KEY") or os.environ.get("OPENAI_BASE_URL"):
        return OpenAI(api_key=os.environ.get("OPENAI_API_KEY", "none"), max_retries=0)
    return OpenAI(base_url=ModelServer().start().base_url, api_key="offline")


def destinations(stack):
    """Lumen and Valmi, or a collector in the place of each."""
    if "LUMEN_API_KEY" in os.environ:
        lumen, valmi = os.environ["LUMEN_API_KEY"], os.environ["VALMI_API_KEY"]
        agent = os.environ["VALMI_AGENT_KEY"]
        urls = {name: os.environ.get(f"SPANLOOM_{name}_URL") for name in ("LUMEN", "VALMI")}
    else:
        lumen, valmi, agent = "offline", "offline", "agent-1"
        lumen_there = stack.enter_context(Running(HERE / "lumen" / "runs.db"))
        valmi_there = stack.enter_context(Running(HERE / "valmi" / "runs.db"))
        urls = {"LUMEN": f"{lumen_there.url}/lumen", "VALMI": f"{valmi_there.url}/valmi/v1"}
    known = {name: {"url": url} if url else {} for name, url in urls.items()}
    return [
        spanloom.Lumen(lumen, meter={"llm"}, **known["LUMEN"]),
        spanloom.Valmi(valmi, agent, meter={"llm"}, **known["VALMI"]),
        spanloom.Local(),
    ]


def complete(client, text):
    """One model call. The response's id is what makes its action the same one wherever it is reported."""
    messages = [{"role": "user", "content": text}]
    with spanloom.llm("gpt-4o", input=messages) as run:
        reply = client.chat.completions.create(model="gpt-4o", messages=messages)
        tokens = {"input": reply.usage.prompt_tokens, "output": reply.usage.completion_tokens}
        run.set(output=reply.choices[0].message.content, usage=tokens, response_id=reply.id)
    return reply.choices[0].message.content


@spanloom.agent
def resolve(client, ticket, question):
    answer = question
    for step in STEPS:
        answer = complete(client, f"[{ticket}] {step}{answer}")
    # The ticket's own id is the key: said twice, it is billed once.
    spanloom.outcome("ticket_resolved", value=1, properties={"ticket": ticket}, idempotency_key=ticket)
    return answer


if __name__ == "__main__":
    HERE.mkdir(parents=True, exist_ok=True)
    resolved = RESOLVED.read_text().split() if RESOLVED.exists() else []
    with contextlib.ExitStack() as stack:
        spanloom.configure(destinations=destinations(stack), service="support")
        client = open_client()
        for ticket, question in TICKETS.items():
            if ticket not in resolved:
                with spanloom.context(customer="acme"):
                    resolve(client, ticket, question)
                with RESOLVED.open("a") as file:
                    file.write(f"{ticket}\n")
        spanloom.flush(timeout_seconds=20)
        print(spanloom.health())
