#!/usr/bin/env bash
# Runs tests with the lowest version of everything that the plug-in always needs, as setup.py states them.
#
#   bash scripts/lowest_versions.sh [FOLDER] [PYTEST ARGUMENTS]
#
# FOLDER (default: output/lowest) gets an environment of its own, some GB with torch's CUDA libraries.
# LOREAL_LOWEST_PYTHON names the interpreter (python3.10, the lowest that setup.py takes). Without
# PYTEST ARGUMENTS the tests of the rooms that every user passes run. Extras and test tools are of
# the newest versions that go with these.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
OUT="${1:-output/lowest}"
shift || true
ROOMS=(tests/method tests/text tests/files tests/students tests/inference tests/trainer tests/runs tests/use)
TOOLS=(pytest pytest-xdist pytest-timeout pytest-httpserver jinja2 jsonschema wheel build ruff mypy)
TOOLS+=(openai onnx onnxruntime onnxscript submitit)
PY="${LOREAL_LOWEST_PYTHON:-python3.10}"
if ! "$PY" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 10))' 2>/dev/null; then
    echo "lowest versions: $PY is no Python 3.10; name one with LOREAL_LOWEST_PYTHON" >&2
    exit 2
fi
[ -x "$OUT/env/bin/python" ] || "$PY" -m venv "$OUT/env"
python="$OUT/env/bin/python"
"$python" -m pip install -q --disable-pip-version-check packaging
"$python" scripts/requirements_page.py --lowest >"$OUT/lowest.txt"
"$python" -m pip install -q --disable-pip-version-check -r "$OUT/lowest.txt" "${TOOLS[@]}"
"$python" -m pip freeze >"$OUT/installed.txt"
echo "lowest versions: $(paste -sd' ' "$OUT/lowest.txt")"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
[ "$#" -gt 0 ] || set -- -n auto --dist worksteal "${ROOMS[@]}"
exec "$python" -m pytest -q "$@"
