#!/usr/bin/env bash
# Zero-shot: CLIP with hand-made prompts, at its native size and at PHI; trains nothing, prints one table.
#
#   bash scripts/loreal/zero_shot.sh METHOD PHI [DATASET=demo] [SEED=1]
#
#   METHOD   coop, maple, mma or mmrl (cocoop, ivlp: with HOST)          PHI   side of the low-resolution input, e.g. 96
#   --dry-run prints what would be tested, and does nothing
#
# METHOD and SEED are taken so that every script is called alike, and make no difference.
#
# Environment: DATA (folder of the datasets; not needed for demo), OUT (default ./output), CLIP_WEIGHTS (demo, demo-2, an
# OpenAI name or a file), LOREAL_PYTHON (an interpreter to use as it is). In a fresh clone .venv is made first.
#
# Example: bash scripts/loreal/zero_shot.sh maple 96
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
loreal_protocol "${BASH_SOURCE[0]}" zero_shot "" "$@"
