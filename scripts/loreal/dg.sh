#!/usr/bin/env bash
# Domain generalisation (LR-DG): trains on all classes of a source, tests on other renderings of them, prints one table.
#
#   bash scripts/loreal/dg.sh METHOD PHI [DATASET=demo] [SEED=1] [-- KEY VALUE ...]
#
#   METHOD   coop, maple, mma or mmrl (cocoop, ivlp: with HOST)          PHI   side of the low-resolution input, e.g. 96
#   --dry-run before the -- prints the commands of all stages and tests, and does nothing
#
# DATASET is the source: imagenet (V2, Sketch, A, R), demo (four target worlds), or any other with TARGETS.
# The stages are those of xd.sh.
#
# Environment: DATA (folder of the datasets; not needed for demo), HOST (a CoOp-family checkout; default the
# embedded host), OUT (default ./output), SHOTS (16), TARGETS (datasets to test on), CLIP_WEIGHTS (demo, demo-2, an OpenAI name or a
# file), LOREAL_PYTHON (an interpreter to use as it is). In a fresh clone .venv is made first.
#
# Example: bash scripts/loreal/dg.sh maple 96
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
loreal_protocol "${BASH_SOURCE[0]}" dg "" "$@"
