#!/usr/bin/env bash
# Trains a host at standard and at low resolution, then LOREAL on top, and prints one table.
#
#   bash scripts/loreal/base2new_train.sh METHOD PHI [DATASET=demo] [SEED=1] [-- KEY VALUE ...]
#
#   METHOD   coop, maple, mma or mmrl (cocoop, ivlp: with HOST)          PHI   side of the low-resolution input, e.g. 96
#   --dry-run before the -- prints the commands of all stages and tests, and does nothing
#
# Environment: DATA (folder of the datasets; not needed for demo), HOST (a CoOp-family checkout; default the
# embedded host; goes with DASSL, see docs/HOSTS.md), OUT (default ./output), SHOTS (16), CLIP_WEIGHTS (demo,
# demo-2, an OpenAI name or a file), LOREAL_PYTHON (an interpreter to use as it is). In a fresh clone .venv is made first.
#
# Example: bash scripts/loreal/base2new_train.sh maple 96
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
loreal_protocol "${BASH_SOURCE[0]}" base2new "" "$@"
