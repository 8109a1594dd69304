"""Parts of a document that a command fills in."""

from __future__ import annotations

from loreal_plugin.errors import LorealError


def replace_between(text: str, name: str, content: str) -> str:
    """Return a document with other words between `<!-- begin NAME -->` and `<!-- end NAME -->`.

    Raises:
        LorealError: the document has no such part.
    """
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    if text.count(begin) != 1 or text.count(end) != 1:
        raise LorealError(f"the document must have '{begin}' and '{end}' once each")
    head, rest = text.split(begin)
    return f"{head}{begin}\n{content.strip()}\n{end}{rest.split(end)[1]}"
