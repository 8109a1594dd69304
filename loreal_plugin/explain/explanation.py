"""What a run makes of one picture, as numbers: predictions, attention maps, slots.

Shapes: g patches a side, K attributes, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from loreal_plugin.explain.rollout import class_attention
from loreal_plugin.explain.runs import OpenRun
from loreal_plugin.explain.slot_worth import Vocabulary, leave_one_out, moves, stand_ins
from loreal_plugin.options import WITH_CONTENTS
from loreal_plugin.students.student import Student

TOP = 5
NEAREST = 3


@dataclass(frozen=True)
class Prediction:
    """The top five classes of one model, best first; `size` is the side of the picture it read."""

    name: str
    size: int
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]


@dataclass(frozen=True)
class Slot:
    """One slot at one size: the words nearest to its content, and what leaving it out does.

    Attributes:
        attribute: the slot's own words.
        words: nearest vocabulary words with their cosine, best first.
        moves: distance of the content from its training mean, in lengths of that mean; None without
            a mean.
        drop: by stand-in (see `stand_ins`), the logit of the predicted class with the slot minus
            without it.
        probability: by stand-in, that of the predicted class without the slot.
    """

    attribute: str
    words: tuple[tuple[str, float], ...]
    moves: float | None
    drop: dict[str, float]
    probability: dict[str, float]


@dataclass(frozen=True)
class Explanation:
    """All that a page shows.

    Attributes:
        path: the picture file.
        label: its class, empty where it is not known.
        pictures: what the models read, (S, S, 3) in [0, 1], by size.
        maps: where the class token looks, (g, g), by name of the model: `alpha`, `alpha_at_phi`,
            `beta`.
        predictions: host and the run's row at the native size, then at phi the host trained at the
            native size, the host trained at phi (or adapted to it), the run's row. Where the row
            has the host's own prompts and embeddings, its second and fourth are left out: they
            would say the same.
        slots: K slots by size; empty where slots hold words only.
    """

    path: str
    label: str
    pictures: dict[int, Tensor]
    maps: dict[str, Tensor]
    predictions: tuple[Prediction, ...]
    slots: dict[int, tuple[Slot, ...]]

    def numbers(self) -> dict[str, Any]:
        """Return what is in it without pictures and maps, in JSON's types."""
        return rounded(
            {
                "picture": self.path,
                "label": self.label or None,
                "predictions": [vars(prediction) for prediction in self.predictions],
                "slots": {
                    str(size): [vars(slot) for slot in slots] for size, slots in self.slots.items()
                },
            }
        )


def rounded(value: Any) -> Any:
    """Return a value of JSON's types with its floats rounded to five places."""
    if isinstance(value, dict):
        return {key: rounded(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(part) for part in value]
    return round(value, 5) if isinstance(value, float) else value


class Explainer:
    """Explains pictures of one run.

    Args:
        run: the opened run.
        vocabulary: the words to compare contents with.
    """

    def __init__(self, run: OpenRun, vocabulary: Vocabulary) -> None:
        self.run, self.vocabulary = run, vocabulary
        options = run.model.options
        self._as_host = options.slot_parts == "none" and options.drift == "none"
        filled = options.slot_parts in WITH_CONTENTS
        students = (run.alpha, run.beta) if filled else ()
        self._stand_ins = {student: stand_ins(run.model, student) for student in students}

    @torch.no_grad()
    def explain(self, path: str, label: str = "") -> Explanation:
        """Return the explanation of a picture file.

        Raises:
            DataError: it is missing or broken.
        """
        run, alpha, beta = self.run, self.run.alpha, self.run.beta
        native, low = run.pixels(path, run.native_size), run.pixels(path, run.phi)
        # LOREAL may read beta's embedding corrected, the host never does
        own_alpha, own_beta = alpha.encode_image(native), beta.encode_image(low)
        features = {alpha: own_alpha, beta: run.model.embed(low)}
        logits = {student: self._loreal(student, f) for student, f in features.items()}
        drifted = run.alpha_at_phi.encode_image(low)
        host, phi, size = run.host_trainer, run.phi, run.native_size
        at_size = f"{host}, trained at {size}"
        predictions = [
            self._prediction(host, size, alpha.host_logits(own_alpha)),
            self._prediction(run.row, size, logits[alpha]),
            self._prediction(at_size, phi, run.alpha_at_phi.host_logits(drifted)),
            self._prediction(run.host_at_phi, phi, beta.host_logits(own_beta)),
            self._prediction(run.row, phi, logits[beta]),
        ]
        if self._as_host:
            del predictions[3], predictions[1]
        return Explanation(
            path=path,
            label=label,
            pictures={size: run.shown(native), phi: run.shown(low)},
            maps={
                "alpha": class_attention(alpha, native)[0],
                "alpha_at_phi": class_attention(run.alpha_at_phi, low)[0],
                "beta": class_attention(beta, low)[0],
            },
            predictions=tuple(predictions),
            slots={
                student.input_size: self._slots(student, features[student], logits[student])
                for student in self._stand_ins
            },
        )

    def _loreal(self, student: Student, features: Tensor) -> Tensor:
        """Return a student's logits (1, C) with contents of its own embedding."""
        model = self.run.model
        contents = model.contents(student, features)
        return model.logits(student, features, contents, model.fusion).float()

    def _logits_of(self, student: Student, features: Tensor) -> Callable[[Tensor], Tensor]:
        """Return contents (B, K, D_t) -> logits (B, C) of one picture's features (1, F, D_v)."""
        model, options = self.run.model, self.run.model.options
        # with these options all rows of a batch would share their contents
        alone = options.conditioning == "batch" or options.constant_conditioning

        def logits(given: Tensor) -> Tensor:
            if alone:
                each = [model.logits(student, features, one[None], model.fusion) for one in given]
                return torch.cat(each)
            repeated = features.expand(len(given), -1, -1)
            return model.logits(student, repeated, given, model.fusion)

        return logits

    def _prediction(self, name: str, size: int, logits: Tensor) -> Prediction:
        """Return the best classes of logits (1, C)."""
        best = logits[0].softmax(0).topk(min(TOP, logits.shape[1]))
        names = tuple(self.run.deployed.classnames[i] for i in best.indices.tolist())
        return Prediction(name, size, names, tuple(best.values.tolist()))

    def _slots(self, student: Student, features: Tensor, logits: Tensor) -> tuple[Slot, ...]:
        """Return a student's slots for features (1, F, D_v) with which it gave `logits` (1, C)."""
        predicted = int(logits[0].argmax())
        contents, stand_in = self.run.model.contents(student, features), self._stand_ins[student]
        logits_of = self._logits_of(student, features)
        without = {kind: leave_one_out(logits_of, contents, v) for kind, v in stand_in.items()}
        words = self.vocabulary.nearest(contents[0], NEAREST)
        distances: list[float | None] = [None] * len(words)
        if "mean" in stand_in:
            distances = moves(contents[0], stand_in["mean"]).tolist()
        attributes = attributes_of(self.run.beta.words, predicted)
        return tuple(
            Slot(
                attribute,
                tuple(words[k]),
                distances[k],
                {kind: float(v[0, predicted] - v[1 + k, predicted]) for kind, v in without.items()},
                {kind: float(v[1 + k].softmax(-1)[predicted]) for kind, v in without.items()},
            )
            for k, attribute in enumerate(attributes)
        )


def attributes_of(words: Sequence[Any], predicted: int) -> list[str]:
    """Return the K attributes in the prompt of a class: the same for all, or its own."""
    return list(words) if isinstance(words[0], str) else list(words[predicted])
