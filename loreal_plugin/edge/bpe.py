"""CLIP's byte-pair encoding in plain Python: a class name to token ids.

Source: Sennrich et al., "Neural Machine Translation of Rare Words with Subword Units", ACL 2016;
the table of merges, its order and the treatment of texts are those of OpenAI's CLIP.
"""

from __future__ import annotations

import gzip
import html
import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from loreal_plugin.errors import CheckpointError

N_BYTES = 256
_END = "</w>"
_CONTRACTIONS = re.compile(r"'(?:s|t|re|ve|m|ll|d)", re.IGNORECASE)
# typographic quotes become plain ones, as CLIP's clean-up of texts does it
_PLAIN = str.maketrans({"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"'})


class BytePairs:
    """An encoder of texts.

    Args:
        merges: pairs of pieces, the first to be joined first.
    """

    def __init__(self, merges: Sequence[tuple[str, str]]) -> None:
        letters = byte_letters()
        alphabet = list(letters.values())
        pieces = [*alphabet, *(letter + _END for letter in alphabet)]
        pieces += ["".join(pair) for pair in merges]
        self._letters = letters
        self._rank = {pair: rank for rank, pair in enumerate(merges)}
        self._ids = {piece: index for index, piece in enumerate(pieces)}

    @classmethod
    def read(cls, path: Path) -> BytePairs:
        """Return the encoder whose merges a file has, a pair a line.

        Raises:
            CheckpointError: the file cannot be read.
        """
        try:
            lines = gzip.decompress(path.read_bytes()).decode("utf-8").splitlines()
            return cls([_pair(line) for line in lines])
        except (OSError, EOFError, ValueError) as error:
            raise CheckpointError(f"{path} is no table of merges ({error})") from None

    def __call__(self, text: str) -> list[int]:
        """Return the token ids of a text, without start and end."""
        found = []
        for word in words_of(clean(text)):
            letters = "".join(self._letters[byte] for byte in word.encode("utf-8"))
            found += [self._ids[piece] for piece in self._joined(letters)]
        return found

    def _joined(self, letters: str) -> list[str]:
        """Return the pieces of a word: neighbours are joined, in the order of the table."""
        pieces = [*letters[:-1], letters[-1] + _END]
        while len(pieces) > 1:
            pairs = list(zip(pieces, pieces[1:], strict=False))
            best = min(pairs, key=lambda pair: self._rank.get(pair, len(self._rank)))
            if best not in self._rank:
                break
            merged, at = [], 0
            while at < len(pieces):
                both = tuple(pieces[at : at + 2]) == best
                merged.append("".join(best) if both else pieces[at])
                at += 2 if both else 1
            pieces = merged
        return pieces


def _pair(line: str) -> tuple[str, str]:
    first, second = line.split(" ")
    return first, second


@cache
def byte_letters() -> dict[int, str]:
    """Return a visible letter for each byte, visible bytes first."""
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(N_BYTES) if byte not in visible]
    found = {byte: chr(byte) for byte in visible}
    return found | {byte: chr(N_BYTES + index) for index, byte in enumerate(hidden)}


def clean(text: str) -> str:
    """Return a text as CLIP reads it: entities resolved, one space between words, lower case."""
    text = unicodedata.normalize("NFC", text).translate(_PLAIN)
    return " ".join(html.unescape(html.unescape(text)).split()).lower()


def words_of(text: str) -> Iterator[str]:
    """Yield contractions, runs of letters, single digits and runs of other signs; no spaces."""
    at = 0
    while at < len(text):
        contraction = _CONTRACTIONS.match(text, at)
        if contraction:
            end = contraction.end()
        else:
            kind, end = _kind(text[at]), at + 1
            while kind in "LO" and end < len(text) and _kind(text[end]) == kind:
                end += 1
            if kind == " ":
                at = end
                continue
        yield text[at:end]
        at = end


def _kind(letter: str) -> str:
    """Return L for letters, N for digits, a space for spaces, O for others."""
    if letter.isspace():
        return " "
    kind = unicodedata.category(letter)[0]
    return kind if kind in "LN" else "O"
