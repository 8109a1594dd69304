"""What a mining run will cost, before the first question is paid for."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from loreal_plugin.errors import MiningError

# US dollars per million tokens (input, output): the providers' list prices of 2025.
# --price overrides them.
PRICES = {
    "gpt-4o": (2.50, 10.00),
    "gpt-4o-mini": (0.15, 0.60),
    "gpt-4.1": (2.00, 8.00),
    "gpt-4.1-mini": (0.40, 1.60),
}
_BYTES_PER_TOKEN = 4.0
_TOKENS_PER_MESSAGE = 8  # its role and its ends
TOKENS_PER_DESCRIPTION, TOKENS_PER_ATTRIBUTE = 60, 40


@dataclass(frozen=True)
class Estimate:
    """Questions still to ask and the tokens they will take, roughly."""

    questions: int
    tokens_in: int
    tokens_out: int

    def dollars(self, price: tuple[float, float] | None) -> float | None:
        """Return the cost, None where the price is not known."""
        if price is None:
            return None
        return (self.tokens_in * price[0] + self.tokens_out * price[1]) / 1e6

    def line(self, model: str, price: tuple[float, float] | None) -> str:
        """Return the estimate as one line."""
        cost = self.dollars(price)
        known = "price unknown (give --price IN OUT)" if cost is None else f"about ${cost:.2f}"
        return (
            f"{self.questions} question(s) to {model}: about {self.tokens_in:,} tokens in, "
            f"{self.tokens_out:,} out; {known}; repeated questions cost extra"
        )


def count_text(messages: Sequence[dict[str, str]]) -> int:
    """Return roughly how many tokens messages have, by their bytes in UTF-8."""
    n_bytes = sum(len(m["content"].encode()) for m in messages)
    return round(n_bytes / _BYTES_PER_TOKEN) + _TOKENS_PER_MESSAGE * len(messages)


def find_price(model: str, given: Sequence[float] | None) -> tuple[float, float] | None:
    """Return the price of a million tokens (input, output), given or listed; None if unknown."""
    return (given[0], given[1]) if given else PRICES.get(model)


def confirm(
    estimate: Estimate,
    model: str,
    price: tuple[float, float] | None,
    *,
    yes: bool,
    local: bool,
    say: Callable[[str], None] = print,
    read: Any = None,
) -> None:
    """Print the estimate and, where somebody is charged, ask before going on.

    Args:
        yes: the question was answered on the command line.
        local: nobody is charged; there is no question.
        read: stands for `input`.

    Raises:
        MiningError: the answer is no, or there is nobody to ask.
    """
    say(estimate.line(model, (0.0, 0.0) if local and price is None else price))
    if yes or local:
        return
    if read is None:
        if not sys.stdin.isatty():
            raise MiningError(
                "this costs money and nobody can be asked (no terminal): confirm with --yes"
            )
        read = input
    if read("Go on? [y/N] ").strip().lower() not in ("y", "yes"):
        raise MiningError("stopped before the first paid question; nothing was asked")
