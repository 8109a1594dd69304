"""The questions that a row answers, as the error for a trainer without a row names them."""

from __future__ import annotations

# names are those of HostContract, explained in docs/ADD_A_HOST.md
QUESTIONS: tuple[tuple[str, str], ...] = (
    ("method", "its name on the command line, lower case"),
    ("title", "its name in tables"),
    ("trainer", "the registered name"),
    ("loreal_trainer", "the registered name of the trainer with LOREAL"),
    ("module", "the file under trainers/"),
    ("cfg_node", "its node under cfg.TRAINER"),
    ("learner", "the prompt learner's attribute on trainer.model"),
    ("checkpoint", "the registered model, which names the checkpoint's folder"),
    ("whole_model", "whether that is the whole model"),
    ("parts", "further attributes that the answers below use"),
    ("learned", "what trains"),
    ("unused", "frozen tensors that are drawn in each build and never read"),
    ("of_trained_classes", "learned tensors that a model of other classes lacks"),
    ("learns_images", "whether anything of it acts inside the image encoder"),
    ("static_prompts", "whether a prompt is the same for every image"),
    ("slot_orders", "where slots may stand"),
    ("prompt_template", "the text of its prompts"),
    ("prompt_rows", "the prompts as embeddings and tokens"),
    ("encode_text", "how its text encoder is called"),
    ("block_parts", "what it changes inside the text blocks"),
    ("image_features", "how its image encoder is called"),
    ("n_features", "how many features of a picture that gives"),
    ("logits", "how features become logits"),
    ("reset", "what it keeps between forwards"),
)


def questions() -> list[tuple[str, str]]:
    """Return the questions: first the facts that every row has to give, as `HostFacts` has them."""
    from loreal_plugin.contract.facts import HostFacts, missing_facts

    texts, needed = dict(QUESTIONS), missing_facts(HostFacts)
    first = [(name, texts.get(name, "has no default")) for name in needed]
    return first + [(name, text) for name, text in QUESTIONS if name not in needed]


def trainer_without_row(trainer: str, file: str, known: list[str]) -> str:
    """Return the text of the error for a host's trainer that no contract knows.

    Args:
        trainer: its registered name.
        file: where the host defines it.
        known: methods with a row.
    """
    asked = ", ".join(f"{name} ({text})" for name, text in questions())
    return (
        f"trainer '{trainer}' ({file}) has no row in the host contract, so LOREAL cannot be put on"
        f" it; a row answers: {asked}; docs/ADD_A_HOST.md shows how; methods with a row:"
        f" {', '.join(known)}"
    )
