"""What a run's record says about its own worth: halves of one class, words never seen."""

from __future__ import annotations

from collections.abc import Callable

from loreal_plugin.data.demo import DEMO_DATASETS, DEMO_WEIGHTS
from loreal_plugin.demo.weights import untrained_tokens
from loreal_plugin.runs.check_values import doubtful_classes
from loreal_plugin.runs.checks import tokenizer
from loreal_plugin.runs.engine import Engine


def run_notes(engine: Engine) -> list[str]:
    """Return the sentences that belong beside the run's table; none where all is well."""
    found = []
    for name, test in engine.plan.tests.items():
        names = list(engine.identity.dataset(name).classnames)
        found += doubtful_classes(name, test.dataset, names)
    return [*(text[0].upper() + text[1:] for text in found), *_untrained(engine)]


def _untrained(engine: Engine) -> list[str]:
    """Return what is to be said of words that the demonstration's weights never saw."""
    weights, identity = engine.plan.spec.weights, engine.identity
    drawn = all(test.dataset in DEMO_DATASETS for test in engine.plan.tests.values())
    if weights not in DEMO_WEIGHTS or not drawn:
        return []  # of other pictures the table says more: `results.notes`
    encode, used = tokenizer(), dict[int, None]()
    for subset in engine.plan.tests:
        names = list(identity.dataset(subset).classnames)
        words = identity.words_on(subset, names)
        texts = [
            *names,
            *(t for word in words for t in ([word] if isinstance(word, str) else word)),
        ]
        used |= dict.fromkeys(_ids(texts, encode))
    unseen = untrained_tokens(used, weights)
    if not unseen:
        return []
    share = f"{len(unseen)} of {len(used)} tokens of class names and attributes"
    return [f"{share} are untrained in the weights '{weights}': accuracy on them means nothing."]


def _ids(texts: list[str], encode: Callable[[str], list[int]]) -> list[int]:
    """Return the token ids of texts as a prompt has them."""
    return [token for text in texts for token in encode(text.replace("_", " "))]
