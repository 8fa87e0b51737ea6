"""Which names of keys promise a secret: whole words in snake_case, camelCase, kebab-case or glued together.

Promises: ``max_tokens``, ``token_count``, ``tokenizer``, ``author``, ``primary_key`` and ``cookie_policy`` are not
taken for secrets. Must never look at a value.
"""

from __future__ import annotations

import re

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")

_PASSWORD = frozenset(("password", "passwords", "passwd", "pwd", "passphrase", "passcode", "passwort"))
_SECRET = frozenset(("secret", "secrets"))
_COOKIE = frozenset(("cookie", "cookies"))
_AUTHORIZATION = frozenset(("authorization", "authorisation"))
_CREDENTIAL = frozenset(("credential", "credentials", "creds"))

# Names that are secrets whole, whatever their words.
_WHOLE = {"auth": "authorization", "pass": "password", "pw": "password", "jwt": "jwt", "bearer": "token",
          "otp": "password", "totp": "secret"}  # fmt: skip

# Words that people glue together, with what they are; also found at the end of longer ones (pgpassword, xapikey).
_GLUED = (
    ("password", "password"), ("passwd", "password"), ("passphrase", "password"), ("apikey", "api key"),
    ("secretkey", "secret"), ("privatekey", "private key"), ("accesskey", "access key"), ("authtoken", "token"),
    ("accesstoken", "token"), ("refreshtoken", "token"), ("apitoken", "token"), ("clientsecret", "secret"),
    ("sessionkey", "session key"), ("sessiontoken", "token"), ("setcookie", "cookie"),
)  # fmt: skip

# ``… key`` is a secret when one of these stands straight before it.
_KEY_BEFORE = {
    "api": "api key", "private": "private key", "access": "access key", "secret": "secret", "session": "session key",
    "auth": "api key", "account": "access key", "encryption": "private key", "signing": "private key",
    "master": "private key", "storage": "access key", "ssh": "private key", "service": "api key",
    "license": "api key", "webhook": "api key", "deploy": "api key", "subscription": "api key", "client": "api key",
    "openai": "api key", "anthropic": "api key", "app": "api key", "hmac": "private key",
}  # fmt: skip

# ``… token`` is no secret behind one of these: counts, the vocabulary of a model, pages of a list.
_TOKEN_BEFORE = frozenset((
    "max", "min", "prompt", "completion", "input", "output", "total", "eos", "bos", "pad", "unk", "sep", "cls", "mask",
    "stop", "special", "next", "prev", "previous", "page", "continuation", "start", "end", "first", "last", "per",
    "cached", "reasoning", "num", "n", "time", "new", "added", "image", "audio", "text", "thinking", "sampled",
))  # fmt: skip
# ``… tokens`` is a count or a list of words unless one of these stands before it.
_TOKENS_BEFORE = frozenset(("access", "refresh", "api", "auth", "bearer", "id", "session", "secret"))

# ``… pass`` is a password behind one of these (a boarding pass is not).
_PASS_BEFORE = frozenset((
    "db", "database", "smtp", "user", "mysql", "pg", "postgres", "redis", "root", "admin", "login", "ftp", "mail",
    "email", "mongo", "rabbitmq",
))  # fmt: skip

# Behind a telling word these make a name about the secret: its policy, its age, whether there is one.
_ABOUT = frozenset((
    "length", "len", "policy", "policies", "count", "counts", "strength", "required", "enabled", "disabled", "type",
    "types", "name", "names", "field", "label", "changed", "reset", "updated", "created", "at", "expires", "expiry",
    "expired", "expiration", "max", "min", "rules", "score", "valid", "version", "arn", "manager", "santa", "domain",
    "consent", "banner", "preferences", "settings", "url", "uri", "endpoint", "limit", "usage", "usages", "budget",
    "details", "attempts", "retries", "provider", "required", "format", "method", "path", "file", "link", "ttl",
))  # fmt: skip

_LONG = 256


def label_of(name: str) -> str | None:
    """What a value under this name is (``"api key"``), or None when the name promises no secret."""
    if len(name) > _LONG:
        name = name[: _LONG // 2] + " " + name[-_LONG // 2 :]
    words = [word.lower() for word in _WORDS.findall(name)]
    if not words:
        return None
    whole = _WHOLE.get("".join(words))
    if whole is not None:
        return whole
    for at, word in enumerate(words):
        label = _label_at(words, at, word)
        if label is not None and not any(after in _ABOUT for after in words[at + 1 :]):
            return label
    return None


def _label_at(words: list[str], at: int, word: str) -> str | None:
    before = words[at - 1] if at else ""
    if word in _PASSWORD:
        return "password"
    if word in _SECRET:
        return "secret"
    if word in _AUTHORIZATION:
        return "authorization"
    if word in _COOKIE:
        return "cookie"
    if word in _CREDENTIAL:
        return "credential"
    if word in ("key", "keys"):
        return _KEY_BEFORE.get(before)
    if word == "token":
        return "token" if at == len(words) - 1 and before not in _TOKEN_BEFORE else None
    if word == "tokens":
        return "token" if before in _TOKENS_BEFORE and at == len(words) - 1 else None
    if word == "pass":
        return "password" if before in _PASS_BEFORE else None
    return next((label for ending, label in _GLUED if word.endswith(ending)), None)
