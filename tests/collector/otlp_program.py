"""A program that has OpenTelemetry and never heard of Spanloom: the stock SDK and exporter, and one family of
instrumentors around the real ``openai`` client.

    python otlp_program.py {plain|openinference|openllmetry|both} COLLECTOR MODEL_BASE_URL

Prints the trace id, and what the model reported as used, as JSON.
"""

import importlib
import json
import sys

import openai
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

INSTRUMENTORS = {
    "plain": [],
    "openinference": ["openinference.instrumentation.openai"],
    "openllmetry": ["opentelemetry.instrumentation.openai"],
    "both": ["opentelemetry.instrumentation.openai", "openinference.instrumentation.openai"],
}
WEATHER = {
    "type": "function",
    "function": {"name": "get_weather_forecast", "parameters": {"type": "object", "properties": {"city": {}}}},
}


def ask(client: openai.OpenAI, tracer: trace.Tracer) -> dict[str, int]:
    """Two calls, the first of which asks for a tool; then one that fails."""
    messages: list = [{"role": "user", "content": "What's the weather in Boston?"}]
    first = client.chat.completions.create(model="gpt-4o", messages=messages, tools=[WEATHER], temperature=0.5)
    call = first.choices[0].message.tool_calls[0]
    with tracer.start_as_current_span("execute_tool get_weather_forecast") as tool:
        tool.set_attribute("gen_ai.operation.name", "execute_tool")
        tool.set_attribute("gen_ai.tool.name", call.function.name)
        tool.set_attribute("gen_ai.tool.call.arguments", call.function.arguments)
        tool.set_attribute("gen_ai.tool.call.result", '{"temperature": 72}')
    messages += [first.choices[0].message.model_dump(exclude_none=True)]
    messages += [{"role": "tool", "tool_call_id": call.id, "content": '{"temperature": 72, "weather": "sunny"}'}]
    second = client.chat.completions.create(model="gpt-4o", messages=messages)
    try:
        client.chat.completions.create(model="gpt-4o", messages="none")  # type: ignore[arg-type]
    except openai.APIError:
        pass
    return {
        "prompt": first.usage.prompt_tokens + second.usage.prompt_tokens,
        "completion": first.usage.completion_tokens + second.usage.completion_tokens,
    }


def main(family: str, collector: str, model_url: str) -> None:
    provider = TracerProvider(resource=Resource.create({"service.name": "strangers", "deployment.environment": "test"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{collector}/v1/traces")))
    trace.set_tracer_provider(provider)
    for module in INSTRUMENTORS[family]:
        importlib.import_module(module).OpenAIInstrumentor().instrument(tracer_provider=provider)
    tracer = trace.get_tracer("shop", "1.2")
    client = openai.OpenAI(base_url=model_url, api_key="none", max_retries=0)
    with (
        tracer.start_as_current_span("GET /checkout", kind=trace.SpanKind.SERVER, attributes={"http.route": "/c"}),
        tracer.start_as_current_span("invoke_agent shopper") as agent,
    ):
        agent.set_attributes({"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "shopper"})
        agent.set_attributes({"gen_ai.conversation.id": "conv-7", "user.id": "u1"})
        agent.set_attribute("gen_ai.usage.input_tokens", 999999)
        used = ask(client, tracer)
        agent.add_event("checked out", {"items": 3})
        trace_id = f"{agent.get_span_context().trace_id:032x}"
    provider.shutdown()
    print(json.dumps({"trace": trace_id, **used}))


main(*sys.argv[1:])
