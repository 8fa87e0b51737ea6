"""The texts that workloads send: prose and prompts, of exact length, the same for the same seed."""

from __future__ import annotations

import random

_PROSE = (
    "the quick weather agent of Boston looks for a sunny day and says hello to every user who asks what time it is in "
    "Paris on Monday; it is well known that a model answers in prose, with commas, numbers like 42 and 3.14, names "
    "such as Alice or Bob, and now and then a well-formed list"
)


def prose(characters: int, seed: int) -> str:
    """English-like text of exactly this many characters."""
    pick = random.Random(seed).choice
    words = _PROSE.split()
    text = " ".join(pick(words) for _ in range(characters // 4))
    return text[:characters]


_PROMPT = """Question: "what does `load_settings(path)` return?" Context, from https://docs.example.org/guide?page={n}#setup:

```python
def load_settings(path: str, retries: int = 3) -> dict[str, Any]:
    reply = httpx.get("https://example.com/api/v1/items?limit=50&offset={n}", timeout=10.0)
    return {{"status": reply.status_code, "items": reply.json()["items"], 'seen_at': "2026-01-{n}"}}
```

Note: the user's time zone is UTC-5; answer in JSON, e.g. {{"city": "Paris", "temperature": 21.5, "well-known": true}}.
"""


def prompt(characters: int, seed: int) -> str:
    """Text as prompts really are, with colons, quotes, line feeds, code and URLs; another one for every seed."""
    page = f"{seed}: " + _PROMPT.format(n=seed) + prose(200, seed % 64) + "\n"
    return (page * (characters // len(page) + 1))[:characters]
