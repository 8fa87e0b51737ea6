# ruff: noqa: E501 - a field with what stands in it reads best on one line
"""Two hundred texts that try to become markup, script, a request or a query where they are shown."""

from __future__ import annotations

_SCRIPTS = [
    "<script>__pwned=1</script>",
    "<img src=x onerror=__pwned=1>",
    "<img src=http://evil.example/x.png>",
    "<svg onload=__pwned=1>",
    "<svg><script>__pwned=1</script></svg>",
    "<svg><animate onbegin=__pwned=1 attributeName=x dur=1s>",
    "<iframe src=javascript:parent.__pwned=1></iframe>",
    "<iframe srcdoc='<script>parent.__pwned=1</script>'></iframe>",
    "<body onload=__pwned=1>",
    "<details open ontoggle=__pwned=1>",
    "<video><source onerror=__pwned=1></video>",
    "<audio src=x onerror=__pwned=1>",
    "<input autofocus onfocus=__pwned=1>",
    "<a href=javascript:__pwned=1>click</a>",
    "<form action=http://evil.example><button>x</button></form>",
    "<object data=http://evil.example/x></object>",
    "<embed src=http://evil.example/x>",
    "<link rel=stylesheet href=http://evil.example/x.css>",
    "<style>@import url(http://evil.example/x.css);</style>",
    "<style>*{background:url(http://evil.example/x)}</style>",
    "<meta http-equiv=refresh content='0;url=http://evil.example'>",
    "<base href=http://evil.example/>",
    "<math><mtext></mtext><mglyph><style><img src onerror=__pwned=1>",
    "<noscript><p title='</noscript><img src=x onerror=__pwned=1>'>",
    "<template><script>__pwned=1</script></template>",
    "<marquee onstart=__pwned=1>",
    "<isindex action=javascript:__pwned=1 type=image>",
    "<xss style=animation-name:x onanimationstart=__pwned=1>",
    "<dialog open onclose=__pwned=1>",
    "<portal src=http://evil.example>",
]
_PREFIXES = ['"', "'", '">', "'>", "</textarea>", "</title>", "-->", "]]>", "</style>", "</pre></details>"]
_OTHERS = [
    "javascript:__pwned=1", "JaVaScRiPt:__pwned=1", "data:text/html,<script>__pwned=1</script>", "vbscript:x", "//evil.example/x",
    "http://evil.example/?leak", "![x](http://evil.example/x.png)", "[x](javascript:__pwned=1)", "{{constructor.constructor('__pwned=1')()}}",
    "${__pwned=1}", "`${__pwned=1}`", "#{__pwned=1}", "<%= 7*7 %>", "{%raw%}", "');__pwned=1;//", '");__pwned=1;//', "\\');__pwned=1;//",
    "\u2028__pwned=1\u2029", "</script><script>__pwned=1</script>", "<!--<script>__pwned=1</script>-->", "\x1b[31mred\x1b[0m", "\x1b]8;;http://evil.example\x07x\x1b]8;;\x07",
    "\u202egnp.exe", "\u2066isolate\u2069", "zero\u200bwidth\ufeff", "Z\u0351\u036b\u0343\u036a\u0302\u036bA\u0334L\u0357", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U000e0041tag",
    "__proto__", "constructor", "prototype", "toString", "hasOwnProperty", "undefined", "null", "NaN", "[object Object]", "-0", "1e400", "9007199254740993",
    "'; drop table runs; --", "\" or 1=1 --", "%' or '1'='1", "_%_%", "a* OR b NEAR c", "../../etc/passwd", "..%2f..%2f", "%00", "C:\\con\\nul", "\\\\evil.example\\share",
    "=cmd|' /C calc'!A0", "+1+1", "@SUM(1)", "\t=1", "&lt;img src=x onerror=__pwned=1&gt;", "&#60;script&#62;", "&amp;amp;", "%3Cscript%3E__pwned=1%3C/script%3E",
    "\\u003cscript\\u003e__pwned=1", "\\x3cscript\\x3e", "<\u0131mg src=x onerror=__pwned=1>", "\uff1cscript\uff1e__pwned=1", "<scr\u0000ipt>__pwned=1</scr\u0000ipt>", "<<script>script>__pwned=1",
    "a" * 3000, "<b>" * 300, "&" * 500, "\n" * 200 + "end", "\r\nset-cookie: x=1", "\r\n\r\n<html>", "word " * 400, '{"role":"user","content":"<img src=x onerror=__pwned=1>"}',
    '[{"__proto__":{"x":1}}]', '{"$$typeof":"Symbol(react.element)","type":"script"}', '{"type":"img","props":{"src":"x","onerror":"__pwned=1"},"constructor":null}',
    "url(http://evil.example)", "expression(__pwned=1)", "left:0;background:url(http://evil.example/y)", "var(--x)", "100%;}*{display:none", "</dd></dl>", "<!doctype html>",
]  # fmt: skip

TEXTS: list[str] = list(dict.fromkeys([*_OTHERS, *_SCRIPTS, *(
    prefix + script for number, script in enumerate(_SCRIPTS) for prefix in _PREFIXES[number % 2 :: 2]
)]))[:200]  # fmt: skip
"""Exactly two hundred, each another."""
