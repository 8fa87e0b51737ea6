"""The example programs, run as a newcomer runs them: an empty home, no key, no network; and what they leave behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from spanloom.demo.model_server import Fault, ModelServer
from stored import end_of_program, run_program, tree, trees

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
QUESTION = "What's the weather in Boston?"
ANSWER = "The weather in Boston is sunny with a temperature of 72 degrees."


def test_the_weather_agent_leaves_one_conversation(home: Path) -> None:
    """Thread, exchange, agent, two model calls with a tool between them, and the user's thumb up."""
    chat_id = run_program(home, EXAMPLES / "weather_agent.py").strip()
    thread = tree(home)
    (chat,) = thread.children
    assert thread.row.run.type == "thread"
    assert chat.shape() == ["chat", ["agent my-super-agent", "llm gpt-4o", "tool get_weather_forecast", "llm gpt-4o"]]
    assert chat.id == chat_id
    assert chat.messages == [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": ANSWER}]
    assert chat.row.run.feedback == {"thumb": "up", "comment": "Great response!"}
    agent = chat.one("agent")
    assert (agent.input, agent.output) == (QUESTION, ANSWER)
    tool = chat.one("tool")
    assert (tool.input, tool.output) == ({"city": "Boston"}, {"temperature": 72, "weather": "sunny"})
    first, second = chat.all("llm")
    assert first.params["tools"][0]["function"]["name"] == "get_weather_forecast"
    assert second.params == {}
    assert [message["role"] for message in second.input] == ["user", "assistant", "tool"]
    assert {node.row.run.status for node in agent} == {"ok"}


def test_the_weather_agent_reports_the_tokens_that_the_model_said(home: Path) -> None:
    """With OPENAI_BASE_URL set the example talks to that endpoint, and its tokens are the endpoint's own."""
    with ModelServer() as model:
        run_program(home, EXAMPLES / "weather_agent.py", OPENAI_BASE_URL=model.base_url)
        said = [(usage["prompt_tokens"], usage["completion_tokens"]) for _, usage in told(model)]
    assert [call.tokens for call in tree(home).all("llm")] == said
    assert len(said) == 2


def test_what_the_model_was_asked_and_answered_is_what_was_recorded(home: Path) -> None:
    """The recorded inputs and outputs equal the requests and replies that the model server logged."""
    with ModelServer() as model:
        run_program(home, EXAMPLES / "weather_agent.py", OPENAI_BASE_URL=model.base_url, OPENAI_API_KEY="sk-none")
        served = list(model.served)
    calls = tree(home).all("llm")
    assert [call.input for call in calls] == [entry.asked["messages"] for entry in served]
    assert [call.output for call in calls] == [entry.message for entry in served]


def told(model: ModelServer) -> list[tuple[dict, dict]]:
    """The message and usage of each answer that the model gave."""
    return [(entry.message, entry.usage) for entry in model.served if entry.message and entry.usage]


def test_the_streaming_agent_records_one_message_with_its_tokens(home: Path) -> None:
    """The chunks of the stream are one assistant message with usage; the agent's words are one text."""
    printed = run_program(home, EXAMPLES / "streaming_agent.py").strip()
    agent = tree(home)
    assert agent.shape() == ["agent storyteller", "llm gpt-4o"]
    assert agent.output == printed
    call = agent.one("llm")
    assert call.output == {"role": "assistant", "content": printed}
    assert call.input == [{"role": "user", "content": "Tell me something about lighthouses."}]
    prompt, completion = call.tokens
    assert prompt and completion
    assert call.row.run.first_item_us is not None
    assert call.row.run.first_item_us <= call.row.run.ended_us


def test_a_stream_that_breaks_in_the_middle_is_an_error(home: Path) -> None:
    """What came before the break is kept, the runs end as errors, and the program sees the client's own exception."""
    with ModelServer() as model:
        model.fail_next(Fault(cut=True))
        done = end_of_program(home, EXAMPLES / "streaming_agent.py", OPENAI_BASE_URL=model.base_url)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith(("httpx", "openai"))
    assert done.stdout.startswith("What matters")
    agent = tree(home)
    assert [node.row.run.status for node in agent] == ["error", "error"]
    assert agent.row.run.error_type
    assert "What matters" in json.dumps(agent.one("llm").output)


def test_the_research_team_is_one_tree_across_threads_and_processes(home: Path) -> None:
    """Researchers on an executor, a critic on a bare thread and tools in other processes hang below the editor."""
    assert run_program(home, EXAMPLES / "research_team.py").strip().endswith("words")
    editor = tree(home)
    assert editor.row.run.name == "editor"
    researchers = editor.all("agent", "researcher")
    assert sorted(node.input["topic"] for node in researchers) == ["fog", "harbours", "tides"]
    assert all(node.shape() == ["agent researcher", "llm gpt-4o"] for node in researchers)
    assert editor.one("agent", "critic").shape() == ["agent critic", "llm gpt-4o"]
    counted = editor.all("tool", "count_words")
    assert {node.row.run.parent_id for node in [*researchers, *counted]} == {editor.id}
    assert sum(node.output for node in counted) == editor.output["words"]
    assert len(counted) == 3


def test_feedback_from_another_process_finds_its_runs(home: Path) -> None:
    """One run is found by its id, the other by the key that both processes know."""
    run_program(home, EXAMPLES / "feedback_later.py")
    boat, parcel = trees(home)
    assert boat.input == "Shall I buy the boat?"
    assert boat.row.run.feedback == {"thumb": "up", "comment": "Good advice"}
    assert parcel.input == "Where is my parcel?"
    assert parcel.row.run.key == "order-42"
    assert parcel.row.run.user_id == "ada"
    assert parcel.row.run.feedback == {"thumb": "down", "comment": "Still no parcel"}


def test_two_services_are_one_trace(home: Path) -> None:
    """Each question's answering agent, from the other process, hangs below the call that asked it."""
    assert run_program(home, EXAMPLES / "two_services.py").strip() == "{'Oslo': '3 degrees', 'Lima': '24 degrees'}"
    asking = ["tool ask_the_weather", ["agent weather_clerk", "tool read_thermometer"]]
    assert tree(home).shape() == ["agent travel_agent", asking, asking]
    assert [node.input["city"] for node in tree(home).all("tool", "read_thermometer")] == ["Oslo", "Lima"]


def test_a_host_with_opentelemetry_shares_its_trace(home: Path) -> None:
    """Its spans reach its own exporter as before; in the store they and the runs are one tree."""
    assert "2 spans of the program in 1 trace" in run_program(home, EXAMPLES / "host_with_opentelemetry.py")
    assert tree(home).shape() == ["chain POST /ask", ["agent order_desk", ["tool find_order", "chain SELECT orders"]]]


@pytest.mark.parametrize("name, agent", [("instrumented_agent", "my-super-agent"), ("framework_agent", "weather")])
def test_calls_are_recorded_without_a_decorator_at_them(home: Path, name: str, agent: str) -> None:
    """Instrumented client, or a framework without any decorator: the tree and the tokens of the decorated example."""
    with ModelServer() as model:
        said = run_program(home, EXAMPLES / f"{name}.py", OPENAI_BASE_URL=model.base_url, OPENAI_API_KEY="sk-none")
        counts = [(usage["prompt_tokens"], usage["completion_tokens"]) for _, usage in told(model)]
    assert said.strip() == ANSWER
    root = tree(home)
    assert root.shape() == [f"agent {agent}", "llm gpt-4o", "tool get_weather_forecast", "llm gpt-4o"]
    assert [call.tokens for call in root.all("llm")] == counts
    tool = root.one("tool")
    assert (tool.input, tool.output) == ({"city": "Boston"}, {"temperature": 72, "weather": "sunny"})
    assert root.all("llm")[1].output["content"] == ANSWER
    assert {node.row.run.status for node in root} == {"ok"}


@pytest.mark.parametrize("name", ["instrumented_agent", "framework_agent"])
def test_they_run_offline(home: Path, name: str) -> None:
    """Without a key or a network they talk to the scripted model."""
    assert run_program(home, EXAMPLES / f"{name}.py").strip() == ANSWER


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_is_short_enough_to_copy(path: Path) -> None:
    """At most a hundred lines, and it says how to run it."""
    text = path.read_text("utf-8")
    assert len(text.splitlines()) <= 100
    assert f"python {path.name}" in text
