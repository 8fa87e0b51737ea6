"""Redaction: what is taken out, what is left in, how long it takes, and how the hook fails."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from spanloom.encoder import Encoder
from spanloom.redaction import DENSE, FAILED, REDACTED, Redactor
from spanloom.redaction.names import label_of

KEY = "sk-" + "proj-Ab3dEf6hIj9lMn2pQr5t"
JWT = "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxMjM0In0." + "dBjftJeZ4CVPmB92K27uhbUJU1p1r"
PEM_BODY = "MIIEowIBAAKCAQEA7bq9Q1Zp"
SHAPES = {
    "sk": (KEY, "Ab3dEf6hIj9lMn2pQr5t"),
    "aws": ("AKIA" + "IOSFODNN7EXAMPLE", "IOSFODNN7"),
    "aws session": ("ASIA" + "IOSFODNN7EXAMPLE", "IOSFODNN7"),
    "github": ("ghp_" + "a1B2" * 9, "a1B2a1B2"),
    "github pat": ("github_pat_" + "11ABCDE0Y0" * 3, "11ABCDE0Y0"),
    "gitlab": ("glpat-" + "x1Y2z3W4v5U6t7S8r9Q0", "x1Y2z3W4"),
    "slack": ("xoxb-" + "123456789012-abcdefGHIJ", "abcdefGHIJ"),
    "google": ("AIza" + "SyD-9tSrke72PouQMnMX-a7eZSW0jkFMBWY", "9tSrke72"),
    "stripe": ("sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc", "4eC39HqL"),
    "jwt": (JWT, "eyJzdWIiOiIxMjM0In0"),
    "pem": (f"-----BEGIN RSA PRIVATE KEY-----\n{PEM_BODY}\n-----END RSA PRIVATE KEY-----", PEM_BODY),
    "pem cut": (f"-----BEGIN PRIVATE KEY-----\n{PEM_BODY}", PEM_BODY),
    "pem end": (f"{PEM_BODY}\n-----END PRIVATE KEY-----", PEM_BODY),
    "bearer": ("Bearer abc123def456", "abc123def456"),
    "basic": ("Basic dXNlcjpodW50ZXIy", "dXNlcjpodW50ZXIy"),
    "url": ("postgres://app:hunter2@db.local:5432/x", "hunter2"),
    "assignment": ("password=hunter2", "hunter2"),
    "query": ("https://x.test/?a=1&access_token=t0pS3cret&b=2", "t0pS3cret"),
    "header": ("Authorization: Digest nonce0abc", "nonce0abc"),
    "cookie": ("Set-Cookie: session=abc0def; Path=/", "abc0def"),
    "azure": ("DefaultEndpointsProtocol=https;AccountKey=q83vEjRWeJA", "q83vEjRWeJA"),
}  # fmt: skip
NOT_SECRET = [
    "a task-management-system on the disk-encryption-roadmap", "task-3f2504e04f8911d39a0c0305e82c3301",
    "Basic understanding of bearer tokens", "the bearer of bad news", "password: str = Field()", "max_tokens=50",
    "tokens: 12345678", "author: J. K. Rowling", "def login(password: str, token: str) -> None", "secret: love",
    "https://example.test/a@b", "mail me@example.test", "3f2504e0-4f89-11d3-9a0c-0305e82c3301", "12:30 = noon",
    "api_key=os.environ['X']", "if password == other:", "the key: value pairs", "token=None",
]  # fmt: skip
SECRET_NAMES = [
    "password", "PASSWORD", "userPassword", "passwd", "db_pwd", "secret", "client_secret", "clientSecret", "token",
    "access_token", "refreshToken", "X-Auth-Token", "api_key", "apiKey", "API-KEY", "apikey", "x-api-key", "cookie",
    "OPENAI_API_KEY", "authorization", "Proxy-Authorization", "Set-Cookie", "private_key", "aws_secret_access_key",
    "AccountKey", "sessionKey", "credentials", "passphrase", "PGPASSWORD", "password2", "auth", "DB_PASS",
]  # fmt: skip
PLAIN_NAMES = [
    "max_tokens", "maxTokens", "token_count", "tokens", "prompt_tokens", "tokenizer", "tokenize", "author", "authors",
    "primary_key", "key", "public_key", "cache_key", "next_page_token", "eos_token", "password_policy", "token_type",
    "has_password_reset", "cookie_policy", "secretary", "passport", "passenger", "keyboard", "monkey", "boarding_pass",
    "session_id", "content", "role", "", "123", "compass",
]  # fmt: skip


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_a_telling_name_hides_its_value(name: str) -> None:
    """Whole words count, in every spelling people use for keys."""
    assert label_of(name) is not None
    assert json.loads(Encoder(redactor=Redactor()).snapshot({name: "hunter2"}))[name].startswith("[redacted: ")


@pytest.mark.parametrize("name", PLAIN_NAMES)
def test_a_name_that_only_resembles_hides_nothing(name: str) -> None:
    """Counts of tokens, authors and primary keys are what people look for in a trace."""
    assert label_of(name) is None


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("size", [0, 600, 5000])
def test_a_shape_is_found_wherever_it_stands(kind: str, size: int) -> None:
    """C90: as a value, within prose of any length, as a key, in bytes, in an exception, and in JSON inside JSON."""
    secret, core = SHAPES[kind]
    prose = ("the quick brown fox jumps over it " * 200)[:size]
    text = f"{prose} {secret}" if size else secret
    encoder = Encoder(redactor=Redactor())
    once = json.dumps({"config": text})
    places: list[Any] = [
        text, {"a": [text]}, {text: 1}, text.encode(), ValueError(text), once, json.dumps({"b": [once]}),
        {"x": json.dumps([json.dumps({"b": once})])}, (text,), {text}, bytearray(text.encode()), [{"deep": (text,)}],
    ]  # fmt: skip
    for place in places:
        encoded = encoder.snapshot(place)
        assert core.encode() not in encoded, place
        assert b"[redacted: " in encoded or b"[truncated: " in encoded  # a long key is cut before its secret
        json.loads(encoded)
    assert encoder.failures == 0


@pytest.mark.parametrize("text", NOT_SECRET)
def test_what_only_resembles_a_secret_stays(text: str) -> None:
    """A scrubber that eats prose is switched off by its users."""
    assert Redactor().text(text) == text


def test_names_count_in_nested_json_and_reprs() -> None:
    """A telling key inside a string hides its value at any depth of escaping, containers included."""
    redactor = Redactor()
    value: Any = {"api_key": 'qu"o\\te', "keep": "this"}
    for depth in range(1, 5):
        value = json.dumps({"v": value})
        cleaned = redactor.text(value)
        assert "o\\\\te" not in cleaned, depth
        assert "this" in cleaned
    assert "hunter" not in redactor.text(str({"password": "hunter two"}))
    assert redactor.text('{"credentials": {"a": ["b"]}, "c": 1}') == '{"credentials": [redacted: credential], "c": 1}'
    assert "hunter" not in redactor.text('{"password": "hunter')


def test_header_pairs_and_named_values_are_known() -> None:
    """A pair of name and value tells as much as a key does."""
    encode = Encoder(redactor=Redactor()).snapshot
    spelled = {"name": "Cookie", "value": "abc0"}, [{"key": "DB_PASSWORD", "value": "abc0"}]
    for value in ([("Cookie", "abc0")], *spelled):
        assert b"abc0" not in encode(value)


def test_numbers_of_tokens_flags_and_log_probabilities_stay() -> None:
    """Logfire's users lost their token counts to a scrubber; these must not."""
    value = {"token": 5, "password": True, "secret": None, "logprobs": [{"token": "Hi", "logprob": -0.1}]}
    assert json.loads(Encoder(redactor=Redactor()).snapshot(value)) == value
    assert b"12345" not in Encoder(redactor=Redactor()).snapshot({"password": 12345})


def test_a_secret_in_pieces_is_found_in_a_list_of_texts() -> None:
    """C90: the chunks of a stream are looked at as one text; other lists stay lists."""
    encode = Encoder(redactor=Redactor()).snapshot
    pieces = [KEY[at : at + 3] for at in range(0, len(KEY), 3)]
    assert b"redacted" in encode(["The key is ", *pieces, " ok"])
    assert not any(piece.encode() in encode(["see ", *pieces]) for piece in pieces[2:-1])
    assert json.loads(encode(["a", "b", "long-enough-to-make-a-run"])) == ["a", "b", "long-enough-to-make-a-run"]


def test_the_cut_does_not_leak_the_head_of_a_secret() -> None:
    """Decision 22: the rules see the text before it is cut, wherever the edge falls within the secret."""
    encoder = Encoder(redactor=Redactor())
    limit = encoder.limits.string_bytes
    for secret, core in (SHAPES["sk"], SHAPES["jwt"], SHAPES["aws"], SHAPES["url"]):
        for before in (0, 1, 5, len(secret) // 2, len(secret) - 1, len(secret)):
            text = ("word " * limit)[: limit - before] + " " + secret + " word" * 4000
            assert core[:6].encode() not in encoder.snapshot(text)


def test_a_marker_echoes_nothing_and_stands_a_second_look() -> None:
    """Two secrets of different length leave the same text, and cleaning it again changes nothing."""
    redactor = Redactor()
    for secret, _ in SHAPES.values():
        cleaned = redactor.text(f"x {secret} y")
        assert redactor.text(cleaned) == cleaned
    once = redactor.text("password=abcd1")
    assert once == "password=[redacted: password]"
    assert redactor.text("password=abcd1" * 3)[: len(once)] == once


def test_the_hook_sees_path_and_text_and_the_rules_still_run() -> None:
    """What the hook returns is cleaned like any other text."""
    seen: list[tuple[tuple[Any, ...], str]] = []

    def hook(path: tuple[Any, ...], text: str) -> str | None:
        seen.append((path, text))
        return None if text == "drop" else text.replace("Ann", "X") + " " + KEY

    encoded = Encoder(redactor=Redactor(hook)).snapshot({"a": ["Ann", "drop"], "password": "no"}, ("input",))
    assert seen == [(("input", "a", 0), "Ann"), (("input", "a", 1), "drop")]
    assert json.loads(encoded) == {"a": ["X [redacted: api key]", REDACTED], "password": "[redacted: password]"}


class _Odd(BaseException):
    """An exception that is no Exception."""


@pytest.mark.parametrize("result", [ValueError("raw"), _Odd("raw"), 7, b"raw"])
def test_a_failing_hook_withholds_the_text(result: Any) -> None:
    """C16: exception, wrong type: the raw text is never sent, and the failure is counted."""

    def hook(path: tuple[Any, ...], text: str) -> Any:
        if isinstance(result, BaseException):
            raise result
        return result

    redactor = Redactor(hook)
    assert json.loads(Encoder(redactor=redactor).snapshot(["raw text"])) == [FAILED]
    assert redactor.failures == 1


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_in_the_hook_is_the_hosts(kind: type[BaseException]) -> None:
    """C01: Ctrl-C pressed while the hook runs reaches the host's program."""

    def hook(path: tuple[Any, ...], text: str) -> str:
        raise kind

    with pytest.raises(kind):
        Encoder(redactor=Redactor(hook)).snapshot("x")


def test_a_hook_that_records_does_not_call_itself() -> None:
    """C16: what is encoded while the hook runs is withheld, and the recursion ends there."""
    inner: list[bytes] = []

    def hook(path: tuple[Any, ...], text: str) -> str:
        inner.append(encoder.snapshot("inner"))
        return text

    encoder = Encoder(redactor=Redactor(hook))
    assert encoder.snapshot("outer") == b'"outer"'
    assert inner == [json.dumps(REDACTED).encode()]


ADVERSARIAL = [
    ":", "=", "sk-", "eyJ", "://a:", 'key="', "password=x1 ", "a", "-----BEGIN", "-----END", "Bearer ", '"password":{',
    "\\", '\\"', "token ", "= ", "://a@", "sk-aaaaaaaaaaaaa ", "AKIA1234567890123456 ", "Basic ", "token: ", "{[", "'",
    "xoxb-", "ghp_", "password=", 'secret:"', "api_key \\\\\\",
]  # fmt: skip


def test_no_text_sends_a_rule_back_and_forth() -> None:
    """C91: texts of 1 MB made to send a matcher back and forth are done with before the child's deadline.

    All of them take about 1.5 s together; one rule that is quadratic takes hours.
    """
    program = (
        "import json, sys\nfrom spanloom.redaction import Redactor\n"
        "for unit in json.loads(sys.argv[1]): Redactor().text(unit * (1_000_000 // len(unit)))\nprint('done')"
    )
    run = [sys.executable, "-c", program, json.dumps(ADVERSARIAL)]
    assert subprocess.run(run, timeout=90, capture_output=True, text=True).stdout == "done\n"


def test_a_text_too_dense_to_check_is_withheld() -> None:
    """C91: when every few characters begin another secret, the whole is one."""
    assert Redactor().text("password=hunter2 " * 20_000) in (DENSE, "[redacted: too dense to check]")


def test_invented_keys_do_not_fill_memory() -> None:
    """The verdicts on names are kept in a bounded table."""
    redactor = Redactor()
    for number in range(20_000):
        redactor.key_label(f"key{number}")
    assert len(redactor.plain_keys) <= 4096
