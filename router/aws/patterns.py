"""The models' patterns are Java's regular expressions; here they become Python's, with the same meaning.

Three differences matter: Java's classes `\\d`, `\\w`, `\\s` are ASCII; Java has `\\p{L}`, `\\p{N}` and `\\p{Z}`; and
Java takes `[\\w-_]` as three members where Python refuses it. A value must match as a whole. A caller chooses the
values, so a pattern that can take exponential time is replaced by an equivalent that cannot (`LINEAR`).
"""

import re
from functools import cache

# Texts longer than this are not matched: patterns with two `.+` cost the square of the length. The longest value that a
# pattern may allow has 4,096 characters; a longer one is refused for its length.
MATCHED_CHARS_MAX = 8192

# `C+([ \t]+C+)*` can split a run of spaces in exponentially many ways, because C holds the space too.
LINEAR = {
    r"^[ \t]*[^\x00-\x1F:\x7F]+([ \t]+[^\x00-\x1F:\x7F]+)*[ \t]*$": r"\t*[^\x00-\x1F:\x7F](?:[^\x00-\x1F:\x7F]|\t)*",
    r"^[ \t]*[\x20-\x7E]+([ \t]+[\x20-\x7E]+)*[ \t]*$": r"\t*[\x20-\x7E][\x20-\x7E\t]*",
}

_SPACES = r"\u0020\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"


def matches(pattern: str, text: str) -> bool:
    """Whether the whole of `text` matches a model's pattern. Unclear ones (see `compiled`) refuse nothing."""
    if len(text) > MATCHED_CHARS_MAX:
        return True
    expression = compiled(pattern)
    return expression is None or expression.fullmatch(text) is not None


@cache
def compiled(pattern: str) -> re.Pattern[str] | None:
    """A model's pattern for Python, or None for one that has no sure translation (a test keeps their list empty)."""
    translated = LINEAR.get(pattern, pattern)
    flags = re.ASCII
    if r"\p{" in translated:
        # Python's `\w` is letters, numbers and the underscore.
        translated = translated.replace(r"\p{L}\p{Z}\p{N}_", rf"\w{_SPACES}")
        flags = re.UNICODE
    translated = re.sub(r"(\\[dsw])-(?!\])", r"\1\\-", translated)
    if r"\p{" in translated:
        return None
    try:
        return re.compile(translated, flags)
    except re.error:
        return None
