#!/usr/bin/env bash
# Runs ruff, mypy and the whole test suite, a process for each core; arguments go to pytest.
#
#   bash scripts/test.sh [PYTEST ARGUMENTS]
#
# At the end stand the slowest ten tests, and which parts were left out and why (real checkouts,
# CUDA, full size, a browser). -n 1 runs one test after another.
#
# Uses LOREAL_PYTHON or an active environment that has loreal_plugin and the test tools;
# otherwise makes .venv.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/loreal/env.sh"

TOOLS="pytest xdist pytest_timeout pytest_httpserver openai mypy onnx onnxruntime onnxscript"

has_test_tools() {
    "$1" -c "import ${TOOLS// /, }" >/dev/null 2>&1 && "$1" -m ruff --version >/dev/null 2>&1
}

loreal_environment test
if ! has_test_tools "$LOREAL_PY"; then
    [ -z "${LOREAL_PYTHON:-}" ] || loreal_fail "LOREAL_PYTHON lacks a test tool; pip install -e '.[test]'"
    loreal_say "the active environment lacks the test tools; using $LOREAL_VENV"
    loreal_set_up_locked test
    LOREAL_PY="$LOREAL_VENV/bin/python"
fi
cd "$LOREAL_ROOT"
"$LOREAL_PY" -m ruff check .
"$LOREAL_PY" -m ruff format --check .
"$LOREAL_PY" -m mypy
# one thread a worker: tests are small, and more threads than cores only slow them down
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
# neighbours stay on one worker as long as they can: they share what one of them trained or exported
workers=(-n auto --dist worksteal)
for word in "$@"; do
    case "$word" in -n* | --numprocesses*) workers=() ;; esac
done
exec "$LOREAL_PY" -m pytest --durations=10 ${workers[@]+"${workers[@]}"} "$@"
