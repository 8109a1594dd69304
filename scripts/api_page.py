"""Writes docs/API.md from the docstrings of the names that `loreal_plugin` offers.

    python scripts/api_page.py            # write docs/API.md
    python scripts/api_page.py --check    # exit code 1 where the page is not what this would write

tests/test_api_page.py runs the check.
"""

from __future__ import annotations

import argparse
import inspect
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "API.md"
sys.path.insert(0, str(ROOT))

HEAD = """# The Python API

These names are what other programs may use. Each is imported when it is first asked for:
`import loreal_plugin` needs nothing but Python. Everything else may change between releases. This
page is made from the docstrings: `python scripts/api_page.py`.

```python
import loreal_plugin

run = "output/base2new/train_base/demo/shots_16/MaPLe_LOREAL/phi96/demo/seed1"
model = loreal_plugin.load_run(run)
for best in model.predict(["a.jpg", "b.jpg"], top=3):
    print(best[0].classname, best[0].probability)
```
"""


def page() -> str:
    """Return the page."""
    import loreal_plugin

    names = [name for name in loreal_plugin.__all__ if not name.startswith("__")]
    parts = [described(name, getattr(loreal_plugin, name)) for name in names]
    return "\n".join([HEAD, *parts])


def described(name: str, value: Any) -> str:
    """Return the section of one public name."""
    lines = [f"## `{name}`", "", f"`{value.__module__}.{value.__qualname__}`", ""]
    if inspect.isclass(value):
        lines += [*fenced(inspect.getdoc(value) or ""), ""]
        for member, what in public_members(value):
            lines += [f"### `{name}.{member}`", "", *fenced(what), ""]
    else:
        lines += [*fenced(f"{name}{signature(value)}\n\n{inspect.getdoc(value)}"), ""]
    return "\n".join(lines)


def public_members(owner: type) -> list[tuple[str, str]]:
    """Return the documented methods and properties of a class, in order; then those it inherits
    from classes of the package.
    """
    ours = [one for one in owner.__mro__ if one.__module__.partition(".")[0] == "loreal_plugin"]
    members: dict[str, Any] = {}
    for one in ours:
        members = {**members, **{k: v for k, v in vars(one).items() if k not in members}}
    found = []
    for name, member in members.items():
        if name.startswith("_"):
            continue
        plain = member.__func__ if isinstance(member, (classmethod, staticmethod)) else member
        if inspect.isfunction(plain):
            found.append((name, f"{name}{signature(plain)}\n\n{inspect.getdoc(plain)}"))
        elif isinstance(member, property):
            found.append((name, inspect.getdoc(member) or ""))
    return found


def signature(value: Any) -> str:
    """Return a function's signature as it is written."""
    return str(inspect.signature(value)).replace("'", "")


def fenced(text: str) -> list[str]:
    """Return a text as a block of plain text."""
    return ["```text", *(line.rstrip() for line in text.splitlines()), "```"]


def main(argv: list[str] | None = None) -> int:
    """Write or check the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    args = parser.parse_args(argv)
    made = page()
    if args.check:
        same = PAGE.is_file() and PAGE.read_text(encoding="utf-8") == made
        print("docs/API.md is up to date" if same else "run python scripts/api_page.py")
        return int(not same)
    PAGE.write_text(made, encoding="utf-8")
    print(f"written: {PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
