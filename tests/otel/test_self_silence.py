"""Our own uploads are in nobody's trace: with the host's HTTP and logging instrumentors on, they make no span (C95)."""

from __future__ import annotations

import subprocess
import sys

from support.volume import volume

PROGRAM = """
import logging, sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry import trace
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.instrumentation.logging import LoggingInstrumentor
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

exporter, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
instrumentors = [HTTPXClientInstrumentor, RequestsInstrumentor, LoggingInstrumentor]
try:
    from opentelemetry.instrumentation.urllib3 import URLLib3Instrumentor
    instrumentors.append(URLLib3Instrumentor)
except ImportError:
    pass
for instrumentor in instrumentors:
    instrumentor().instrument()

posts, headers_seen = [], []

class Answer(BaseHTTPRequestHandler):
    def do_POST(self):
        posts.append(self.rfile.read(int(self.headers["content-length"])))
        headers_seen.append({name.lower() for name in self.headers})
        body = b'{"results": []}'
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    do_GET = lambda self: (self.send_response(204), self.end_headers())
    def log_message(self, *args):
        pass

server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}"

import httpx, spanloom
lunary = spanloom.Lunary(public_key="259d2d94-9446-478a-ae04-484de705b522", url=url)
spanloom.configure(destinations=[lunary], journal=None)
tracer = trace.get_tracer("host")
for number in range(int(sys.argv[1])):
    with tracer.start_as_current_span("host"), spanloom.agent("a"):
        logging.getLogger("host").warning("working")
    spanloom.flush(timeout_seconds=20)
httpx.get(url)  # the control: the host's own request is a span
names = [span.name for span in exporter.get_finished_spans()]
others = [name for name in names if name != "host"]
assert len(posts) >= int(sys.argv[1]), len(posts)
assert others == ["GET"], others[:5]
assert names.count("host") == int(sys.argv[1])
assert not any("traceparent" in seen for seen in headers_seen)
spanloom.shutdown(1)
"""


def test_uploads_make_no_spans() -> None:
    """Each batch is sent while all of the host's instrumentors look on: the only other span is the host's own GET.
    1,000 batches in a full run (``SPANLOOM_FAULTS=full``)."""
    batches = str(volume(20, 1000))
    done = subprocess.run([sys.executable, "-c", PROGRAM, batches], timeout=600, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
