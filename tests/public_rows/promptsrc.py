"""PromptSRC: rows in both towers as in IVLP, held to frozen CLIP, averaged over epochs."""

from __future__ import annotations

from loreal_plugin.contract.ivlp import IVLPContract


class PromptSRCContract(IVLPContract):
    """Source: muzairkhattak/PromptSRC, trainers/promptsrc.py, clip/model.py (revision bb95c77).

    Its image encoder and its prompts are those of IVLP. The second, frozen image encoder lies
    inside the prompt learner.
    """

    method = "promptsrc"
    title = "PromptSRC"
    colour = "tab:olive"
    trainer = "PromptSRC"
    loreal_trainer = "PromptSRC_LOREAL"
    module = "promptsrc"
    cfg_node = "PROMPTSRC"
    # the weighted sum of all epochs so far, and how many they were
    kept_state = ("previous_model_gpa", "step_counter")
    repositories = ("muzairkhattak/PromptSRC",)
    tiny_options = (
        *("TRAINER.PROMPTSRC.PROMPT_DEPTH_VISION", "3"),
        *("TRAINER.PROMPTSRC.PROMPT_DEPTH_TEXT", "3"),
    )
    parts = IVLPContract.parts | {
        "frozen image encoder": "prompt_learner.ZS_image_encoder.positional_embedding",
    }
