"""The few lines that a patch adds to a host's `train.py`, and taking them out byte for byte."""

from __future__ import annotations

import ast
import difflib

from loreal_plugin.errors import HostError

BEGIN = b"# >>> loreal patch"
END = b"# <<< loreal patch"
# Before anything of Dassl is imported, and again when everything that train.py defines is there.
# Not where train.py is imported as a module: then somebody else has attached the host.
TOP = """\
# >>> loreal patch: `loreal unpatch` takes these lines out again
if __name__ == "__main__":
    from loreal_plugin.patch import in_host

    in_host.prepare(__file__)
# <<< loreal patch
"""
BOTTOM = """\
# >>> loreal patch
if __name__ == "__main__":
    in_host.attach()
# <<< loreal patch
"""


def with_lines(source: bytes) -> bytes:
    """Return the text of a `train.py` with our lines, in its own line endings.

    Raises:
        HostError: it is no Python, has our lines already, or no `if __name__ == "__main__":` block.
    """
    if BEGIN in source:
        raise HostError("train.py has the lines of a patch already")
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError) as error:
        raise HostError(f"train.py cannot be read as Python ({error})") from error
    mains = [
        node.lineno for node in tree.body if isinstance(node, ast.If) and _is_main_test(node.test)
    ]
    if not mains:
        raise HostError(
            'train.py has no block `if __name__ == "__main__":`, before which our lines would go'
        )
    end_of_line = b"\r\n" if b"\r\n" in source else b"\n"
    lines = source.splitlines(keepends=True)
    for at, text in ((mains[-1], BOTTOM), (_first_statement(tree), TOP)):
        lines.insert(at - 1, text.encode().replace(b"\n", end_of_line))
    patched = b"".join(lines)
    if without_lines(patched) != source:
        raise HostError(
            "train.py mixes line endings in a way that a patch could not be taken back from"
        )
    return patched


def without_lines(source: bytes) -> bytes:
    """Return the text without our lines; other changes stay.

    Raises:
        HostError: a block of ours has no end.
    """
    kept, inside = [], False
    for line in source.splitlines(keepends=True):
        inside = inside or line.startswith(BEGIN)
        if not inside:
            kept.append(line)
        elif line.startswith(END):
            inside = False
    if inside:
        raise HostError(
            f"train.py: a block that begins with '{BEGIN.decode()}' has lost its end; mend it by"
            " hand"
        )
    return b"".join(kept)


def unified_diff(before: bytes, after: bytes, name: str) -> str:
    """Return the difference as a patch; empty where there is none."""
    texts = [
        part.decode("utf-8", errors="replace").splitlines(keepends=True) for part in (before, after)
    ]
    return "".join(difflib.unified_diff(*texts, f"a/{name}", f"b/{name}"))


def _is_main_test(test: ast.expr) -> bool:
    """Say whether an expression is `__name__ == "__main__"`."""
    return "__name__" in ast.dump(test) and "'__main__'" in ast.dump(test)


def _first_statement(tree: ast.Module) -> int:
    """Return the line of the first statement behind the docstring and `from __future__` imports."""
    for index, node in enumerate(tree.body):
        docstring = (
            index == 0 and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        )
        future = isinstance(node, ast.ImportFrom) and node.module == "__future__"
        if not docstring and not future:
            return node.lineno
    return 1
