"""CLIP's byte-pair encoding in plain Python: a class name to token ids.

Source: Sennrich et al., "Neural Machine Translation of Rare Words with Subword Units", ACL 2016;
the table of merges, its order and the treatment of texts are those of OpenAI's CLIP.
"""

from __future__ import annotations

import gzip
import html
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

from loreal_plugin.errors import CheckpointError

N_BYTES = 256
_END = "</w>"
_CONTRACTIONS = re.compile(r"'(?:s|t|re|ve|m|ll|d)", re.IGNORECASE)
# Letters that stand for two, and the blocks of letters of full and half width
_LIGATURES = (
    0x132,
    0x133,
    0x149,
    *range(0x1C4, 0x1CD),
    *range(0x1F1, 0x1F4),
    *range(0xFB00, 0xFB07),
)
_WIDTHS = (0x3000, *range(0xFF01, 0xFFF0))
_QUOTES = {"'": "\u02bc\u2018\u2019\u201a\u201b", '"': "\u201c\u201d\u201e\u201f"}
# what controls a terminal or the order of signs; tabs and ends of lines are blanks
_CONTROLS = (
    *(*range(9), 11, *range(14, 32), 127),
    *(*range(0x206A, 0x2070), 0xFEFF, *range(0xFFF9, 0xFFFD)),
)


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


@cache
def plain_letters() -> tuple[Mapping[int, str | None], ...]:
    """Return what CLIP's clean-up of texts puts in the place of signs, one step after the other."""
    c1 = {n: bytes([n]).decode("cp1252", "ignore") or chr(n) for n in range(0x80, 0xA0)}
    two = {n: unicodedata.decomposition(chr(n)).split()[1:] for n in _LIGATURES}
    apart = {n: "".join(chr(int(code, 16)) for code in codes) for n, codes in two.items()}
    widths = {n: unicodedata.normalize("NFKC", chr(n)) for n in _WIDTHS}
    quotes: dict[int, str | None] = {
        ord(curled): plain for plain, some in _QUOTES.items() for curled in some
    }
    return c1, apart, widths, quotes | dict.fromkeys(_CONTROLS)


def clean(text: str) -> str:
    """Return a text as CLIP reads it: entities resolved, one space between words, lower case, plain
    quotes, no ligatures.

    Not done: CLIP also mends texts that were read in a wrong encoding.
    """
    text = text if "<" in text else html.unescape(text)
    for step in plain_letters():
        text = text.translate(step)
    text = unicodedata.normalize("NFC", text)
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
