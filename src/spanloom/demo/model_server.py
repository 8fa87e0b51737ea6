"""A model API on 127.0.0.1 that answers from a script: for the demo, the examples and tests without a network.

Serves ``POST /v1/chat/completions`` (whole or streamed as server-sent events, tools and ``stream_options`` included),
``POST /v1/responses`` and ``POST /v1/embeddings`` in the shapes of the OpenAI API, ``POST /v1/messages`` in those of
Anthropic's, and keeps a log of what it was asked and answered.
Promises: the same request gets the same content (only ``id`` and ``created`` differ, as they do at a real endpoint);
`close` waits for no client. Never leaves the loopback interface, never looks at the key it is given, never writes to
the terminal.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from . import messages_api, responses_api, script

_BODY_LIMIT_BYTES = 4 << 20
_Events = list[tuple[str, dict[str, Any]]]
_PATHS = "use /v1/chat/completions, /v1/responses, /v1/messages or /v1/embeddings"


@dataclass(frozen=True, slots=True)
class Fault:
    """What the server does with one request instead of answering it.

    ``status`` with an error body; ``retry_after_seconds`` adds the header. ``malformed`` sends 200 and half a JSON
    object. ``cut`` answers, and closes the connection in the middle of the body.
    """

    status: int = 500
    retry_after_seconds: int | None = None
    malformed: bool = False
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Served:
    """One request that was served: ``path``, ``asked`` (the JSON body) and ``status`` (int); ``message`` is the
    assistant's message and ``usage`` its token counts where there were any."""

    path: str
    asked: Any
    status: int
    message: dict[str, Any] | None = None
    usage: dict[str, Any] | None = None


class ModelServer:
    """The scripted server; a context manager, or `start` and `close` by hand.

    ``latency_seconds`` is waited before each answer, ``chunk_seconds`` between the chunks of a stream.
    """

    def __init__(self, *, latency_seconds: float = 0.0, chunk_seconds: float = 0.0) -> None:
        self.latency_seconds = latency_seconds
        self.chunk_seconds = chunk_seconds
        self.served: list[Served] = []
        self._faults: deque[Fault] = deque()
        self._http: _Server | None = None

    @property
    def base_url(self) -> str:
        """What a client takes as base URL, ``http://127.0.0.1:<port>/v1``; raises RuntimeError before `start`."""
        if self._http is None:
            raise RuntimeError("the model server is not running: call start() first, or use it in a with block")
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    @property
    def origin(self) -> str:
        """What an Anthropic client takes as base URL, ``http://127.0.0.1:<port>``; raises as `base_url` does."""
        return self.base_url.removesuffix("/v1")

    def start(self) -> ModelServer:
        """Listen on a free port and serve on a daemon thread; raises OSError when no port can be had."""
        if self._http is None:
            self._http = _Server(self)
            threading.Thread(target=self._http.serve_forever, args=(0.02,), name="scripted-model", daemon=True).start()
        return self

    def close(self) -> None:
        """Stop listening."""
        http, self._http = self._http, None
        if http is not None:
            http.shutdown()
            http.server_close()

    def fail_next(self, *faults: Fault) -> None:
        """Meet the next requests with these faults, one each, in order."""
        self._faults.extend(faults)

    def next_fault(self) -> Fault | None:
        """Take the fault that the present request is to meet, if any."""
        try:
            return self._faults.popleft()
        except IndexError:
            return None

    def __enter__(self) -> ModelServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a client that keeps its connection open must not hold close()
    request_queue_size = 128

    def __init__(self, model: ModelServer) -> None:
        self.model = model
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30
    server: _Server
    # Headers and body go out in two writes; without this the second waits 40 ms for the client's delayed ACK.
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:
        """The terminal belongs to the program that started the server."""

    def do_POST(self) -> None:
        model = self.server.model
        asked, refusal = self._read_json()
        if refusal:
            return self._refuse(asked, 400, refusal)
        if model.latency_seconds:
            time.sleep(model.latency_seconds)
        fault = model.next_fault()
        if fault is not None and fault.malformed:
            self._log(asked, 200)
            return self._send(200, b'{"id": "chatcmpl-1", "choices": [{"ind')
        if fault is not None and not fault.cut:
            return self._refuse(asked, fault.status, "scripted failure", fault.retry_after_seconds)
        if self.path == "/v1/chat/completions":
            return self._chat(asked, cut=fault is not None)
        if self.path == "/v1/messages":
            reply = messages_api.reply_to(asked, f"msg_{uuid.uuid4().hex}")
            return self._events(asked, reply, messages_api.events, cut=fault is not None)
        if self.path == "/v1/responses":
            answer = responses_api.reply_to(asked, uuid.uuid4().hex, int(time.time()))
            return self._events(asked, answer, responses_api.events, cut=fault is not None)
        if self.path == "/v1/embeddings":
            return self._embeddings(asked)
        return self._refuse(asked, 404, f"no such path {self.path}: {_PATHS}")

    def do_GET(self) -> None:
        self._refuse(None, 405, "use POST")

    def _chat(self, asked: dict[str, Any], *, cut: bool) -> None:
        messages = asked.get("messages")
        if not isinstance(messages, list) or not messages:
            return self._refuse(asked, 400, "messages: expected a list with at least one message")
        tools = asked.get("tools")
        reply = script.answer(messages, tools if isinstance(tools, list) else ())
        usage = script.usage_of(messages, reply)
        self._log(asked, 200, reply, usage)
        model = asked.get("model") or "gpt-4o"
        head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": model}
        finish = "tool_calls" if "tool_calls" in reply else "stop"
        if asked.get("stream"):
            options = asked.get("stream_options")
            wants_usage = isinstance(options, dict) and bool(options.get("include_usage"))
            chunks = _chunks(head, reply, finish, usage if wants_usage else None)
            frames = [b"data: " + json.dumps(chunk).encode() for chunk in chunks]
            return self._stream([*frames, b"data: [DONE]"], cut=cut)
        choice = {"index": 0, "message": reply, "logprobs": None, "finish_reason": finish}
        whole = {**head, "object": "chat.completion", "choices": [choice], "usage": usage}
        return self._send(200, json.dumps(whole).encode(), cut=cut)

    def _events(self, asked: dict[str, Any], reply: Any, events: Callable[[Any], _Events], *, cut: bool) -> None:
        """Send the reply of one of the newer APIs, whose streams name their events; a text is a refusal."""
        if isinstance(reply, str):
            return self._refuse(asked, 400, reply)
        self._log(asked, 200, reply.said, reply.usage)
        if not asked.get("stream"):
            return self._send(200, json.dumps(reply.whole).encode(), cut=cut)
        frames = [f"event: {name}\ndata: {json.dumps(data)}".encode() for name, data in events(reply)]
        return self._stream(frames, cut=cut)

    def _embeddings(self, asked: dict[str, Any]) -> None:
        given = asked.get("input")
        texts: list[Any] = given if isinstance(given, list) else [given]
        if not texts or not all(isinstance(text, str) for text in texts):
            return self._refuse(asked, 400, "input: expected a string or a list of strings")
        dimensions = asked.get("dimensions", 8)
        if type(dimensions) is not int or not 1 <= dimensions <= 4096:
            return self._refuse(asked, 400, f"dimensions: expected an integer from 1 to 4096, not {dimensions!r}")
        vectors: list[Any] = [script.embedding(text, dimensions) for text in texts]
        if asked.get("encoding_format") == "base64":
            vectors = [script.packed(vector) for vector in vectors]
        tokens = sum(script.tokens_in(text) for text in texts)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        self._log(asked, 200, usage=usage)
        data = [{"object": "embedding", "index": at, "embedding": vector} for at, vector in enumerate(vectors)]
        whole = {"object": "list", "model": asked.get("model"), "data": data, "usage": usage}
        return self._send(200, json.dumps(whole).encode())

    def _read_json(self) -> tuple[dict[str, Any], str]:
        """The body as a JSON object, and what is wrong with it (text, empty when nothing is)."""
        size = self.headers.get("Content-Length", "")
        if not size.isdecimal() or int(size) > _BODY_LIMIT_BYTES:
            self.close_connection = True  # the body stays unread, so the next request could not be found
            return {}, f"Content-Length: expected at most {_BODY_LIMIT_BYTES} bytes, not {size!r}"
        try:
            asked = json.loads(self.rfile.read(int(size)))
        except (ValueError, RecursionError) as error:
            return {}, f"the body is not JSON: {error}"
        return (asked, "") if isinstance(asked, dict) else ({}, "the body is not a JSON object")

    def _refuse(self, asked: Any, status: int, message: str, retry_after_seconds: int | None = None) -> None:
        headers = {} if retry_after_seconds is None else {"Retry-After": str(retry_after_seconds)}
        self._log(asked, status)
        if self.path == "/v1/messages":
            return self._send(status, json.dumps(messages_api.error(status, message)).encode(), headers)
        kind = "rate_limit_error" if status == 429 else "server_error" if status >= 500 else "invalid_request_error"
        body = {"error": {"message": message, "type": kind, "param": None, "code": None}}
        return self._send(status, json.dumps(body).encode(), headers)

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None, *, cut: bool = False) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if cut else body)
        if cut:
            self.close_connection = True

    def _stream(self, frames: list[bytes], *, cut: bool) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for at, frame in enumerate(frames):
            if cut and at == len(frames) // 2:
                self.close_connection = True
                return
            if at and self.server.model.chunk_seconds:
                time.sleep(self.server.model.chunk_seconds)
            line = frame + b"\n\n"
            self.wfile.write(b"%x\r\n%b\r\n" % (len(line), line))
        self.wfile.write(b"0\r\n\r\n")

    def _log(
        self, asked: Any, status: int, message: dict[str, Any] | None = None, usage: dict[str, Any] | None = None
    ) -> None:
        # Before the answer goes out: a client that has its answer must find it in the log.
        self.server.model.served.append(Served(self.path, asked, status, message, usage))


def _chunks(
    head: dict[str, Any], reply: dict[str, Any], finish: str, usage: dict[str, int] | None
) -> list[dict[str, Any]]:
    """The ``chat.completion.chunk`` objects of a stream; with ``usage``, a last one without choices carries it."""
    head = {**head, "object": "chat.completion.chunk"}
    deltas = [*((delta, None) for delta in script.deltas(reply)), ({}, finish)]
    chunks = [
        {**head, "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}]}
        for delta, reason in deltas
    ]
    if usage is not None:
        chunks = [{**chunk, "usage": None} for chunk in chunks]
        chunks.append({**head, "choices": [], "usage": usage})
    return chunks
