#!/usr/bin/env bash
# Few-shot: trains on 1, 2, 4, 8 and 16 pictures of all classes, prints a table for each and one over all.
#
#   bash scripts/loreal/few_shot.sh METHOD PHI [DATASET=demo] [SEED=1] [-- KEY VALUE ...]
#
#   METHOD   coop, maple, mma or mmrl (cocoop, ivlp: with HOST)          PHI   side of the low-resolution input, e.g. 96
#   --dry-run before the -- prints the commands of all stages and tests, and does nothing
#
# SHOTS is one number or several, e.g. SHOTS="1 4".
#
# Environment: DATA (folder of the datasets; not needed for demo), HOST (a CoOp-family checkout; default the
# embedded host), OUT (default ./output), SHOTS (1 2 4 8 16), CLIP_WEIGHTS (demo, demo-2, an OpenAI name or a
# file), LOREAL_PYTHON (an interpreter to use as it is). In a fresh clone .venv is made first.
#
# Example: bash scripts/loreal/few_shot.sh maple 96
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
loreal_protocol "${BASH_SOURCE[0]}" few_shot "" "$@"
