"""A program that has OpenTelemetry already: its spans and our runs are one trace, in its backend and in ours.

    pip install spanloom
    python host_with_opentelemetry.py
    spanloom tree last

The program's own tracer provider, its exporters and its sampler stay as they are. A run that begins inside a span is
that span's child; a span that begins inside a run is the run's child; and one processor more brings the spans into
Spanloom's store too. Leave it out where the program's spans are none of Spanloom's business.
"""

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import spanloom
from spanloom.otel.spans import RunSpans

# What the program had before.
exported = InMemorySpanExporter()  # its backend
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exported))
trace.set_tracer_provider(provider)
tracer = trace.get_tracer("shop")

# What is new.
provider.add_span_processor(RunSpans())


def query(text):
    with tracer.start_as_current_span("SELECT orders", attributes={"db.system": "sqlite"}):
        return 42


@spanloom.tool
def find_order(customer):
    return query(f"select id from orders where customer = '{customer}'")


@spanloom.agent
def order_desk(question):
    return f"Your order is number {find_order('ada')}."


def handle(question):
    with tracer.start_as_current_span("POST /ask", attributes={"http.route": "/ask"}):
        return order_desk(question)


if __name__ == "__main__":
    print(handle("Where is my order?"))
    provider.shutdown()
    traces = {span.context.trace_id for span in exported.get_finished_spans()}
    print(f"{len(exported.get_finished_spans())} spans of the program in {len(traces)} trace")
