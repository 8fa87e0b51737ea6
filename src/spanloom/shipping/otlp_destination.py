"""The destination `Otlp(...)`: any endpoint that takes OTLP over HTTP.

Promises as in `destinations`: making one has no effect and never fails; `build` checks it and raises `SettingsError`
with the value and the cure; headers, which hold keys, are in no repr and no pickle.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import unquote

from ..dialects import otlp, otlp_proto
from ..errors import SettingsError
from .destination import BatchPolicy, destination_id
from .destinations import _checked_url, _HoldsKey, _needs_no_lookup, _shown
from .http_destination import HttpDestination
from .otlp_format import OtlpFormat
from .transport import Timeouts, Transport

_SUFFIXES = (otlp.TRACES_PATH, otlp.LOGS_PATH)
_HEADERS_WITHOUT_KEYS = frozenset({"x-mlflow-experiment-id", "x-project-name", "user-agent"})


@dataclass(frozen=True)
class Otlp(_HoldsKey):
    """An OTLP endpoint: an OpenTelemetry collector, Phoenix, MLflow, Langfuse, …

    ``url`` is the base, below which ``/v1/traces`` and ``/v1/logs`` lie; ``headers`` (a mapping, or text as in
    ``OTEL_EXPORTER_OTLP_HEADERS``: ``key=value,key=value``, percent-encoded) go with every request. ``encoding``:
    "protobuf" needs the extra ``spanloom[otlp]``; by default it is protobuf where that is installed, else JSON.
    ``allow_insecure`` permits headers over plain ``http://`` to another machine. Takes runs, chats and feedback (an
    endpoint without ``/v1/logs`` gets no feedback: counted as rejected, ``feedback_not_taken``).
    """

    url: str = "http://localhost:4318"
    headers: Mapping[str, str] | str = field(default_factory=dict, repr=False)
    encoding: Literal["protobuf", "json"] | None = None
    allow_insecure: bool = False

    @property
    def problems(self) -> tuple[str, ...]:
        """Sentences about what is allowed and probably not meant."""
        if self.encoding is None and not otlp_proto.available():
            return ("Otlp(): sends JSON, which some endpoints do not read: install spanloom[otlp] for protobuf",)
        return ()

    def build(self) -> HttpDestination:
        """The destination as the shipper drives it. Raises SettingsError naming the value and the cure."""
        headers = _checked_headers(self.headers)
        keyed = bool(headers.keys() - _HEADERS_WITHOUT_KEYS)
        url = _checked_url("Otlp", self.url, keyed=keyed, allow_insecure=self.allow_insecure)
        for suffix in _SUFFIXES:
            url = url.removesuffix(suffix)
        transport = Transport(url, headers={}, timeouts=Timeouts())
        policy = BatchPolicy(max_events=512, max_bytes=2 << 20, inline_at_exit=_needs_no_lookup(url))
        wire_format = OtlpFormat(otlp.Options(encoding=self._checked_encoding(), headers=headers))
        # Phoenix answers 405 and MLflow 404 to log records; their spans are not to wait for that.
        return HttpDestination(
            "otlp", destination_id("otlp", url), policy, wire_format, transport, optional_paths=(otlp.LOGS_PATH,)
        )

    def _checked_encoding(self) -> otlp.Encoding:
        if self.encoding is None:
            return "protobuf" if otlp_proto.available() else "json"
        if self.encoding not in ("protobuf", "json"):
            raise SettingsError(f"Otlp(encoding={_shown(self.encoding)}): use 'protobuf' or 'json'")
        if self.encoding == "protobuf" and not otlp_proto.available():
            raise SettingsError("Otlp(encoding='protobuf') needs opentelemetry-proto: pip install 'spanloom[otlp]'")
        return self.encoding


def _checked_headers(given: Any) -> dict[str, str]:
    """Header names in lower case. The error names a header, never its value."""
    if isinstance(given, str):
        given = _from_text(given)
    if not isinstance(given, Mapping):
        raise SettingsError(f"Otlp(headers=…) is {type(given).__name__}: give a mapping of names to texts")
    headers = {}
    for name, value in given.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise SettingsError(f"Otlp(headers=…): {_shown(name)} is no pair of texts: give names and values as text")
        token = name.strip().lower()
        if not token or not all("!" <= letter <= "~" and letter not in '(),/:;<=>?@[]{}"' for letter in token):
            raise SettingsError(f"Otlp(headers=…): {name[:60]!r} is no name of a header: check the text")
        text = value.strip()
        if not all(" " <= letter <= "~" for letter in text):
            raise SettingsError(f"Otlp(headers=…): the value of {token!r} holds characters that no header has")
        headers[token] = text
    return headers


def _from_text(text: str) -> dict[str, str]:
    found = {}
    for part in text.split(","):
        if not part.strip():
            continue
        name, equals, value = part.partition("=")
        if not equals:
            raise SettingsError("Otlp(headers=…): write them as key=value,key=value; one has no '='")
        found[name.strip()] = unquote(value.strip())
    return found
