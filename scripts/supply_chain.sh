#!/usr/bin/env bash
# Lists what an installation of the plug-in consists of, and looks it up in the table of known
# weaknesses.
#
#   bash scripts/supply_chain.sh [FOLDER]
#
# FOLDER (default: output/supply_chain) gets requirements.txt (every package with its version) and
# sbom.cdx.json (the same as a CycloneDX list of components). pip-audit and cyclonedx-bom come into
# an environment of their own. Nothing here fails a build: without a network it says so and ends
# with 0.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PY="${LOREAL_PYTHON:-.venv/bin/python}"
[ -x "$PY" ] || PY="$(command -v python3)"
OUT="${1:-output/supply_chain}"
if ! "$PY" -c "import packaging, torch" 2>/dev/null; then
    echo "supply chain: the plug-in is not installed for $PY: nothing to list"
    exit 0
fi
mkdir -p "$OUT"
"$PY" scripts/requirements_page.py --pinned >"$OUT/requirements.txt"
echo "supply chain: $(wc -l <"$OUT/requirements.txt") packages in $OUT/requirements.txt"
tools="$(mktemp -d)"
trap 'rm -rf "$tools"' EXIT
if ! { python3 -m venv "$tools/env" && timeout 180 "$tools/env/bin/pip" install -q pip-audit cyclonedx-bom; } 2>/dev/null; then
    echo "supply chain: pip-audit and cyclonedx-bom cannot be installed here: not audited, no list of components"
    exit 0
fi
"$tools/env/bin/cyclonedx-py" requirements "$OUT/requirements.txt" --output-reproducible --of JSON -o "$OUT/sbom.cdx.json" 2>/dev/null
echo "supply chain: CycloneDX list of components in $OUT/sbom.cdx.json"
if timeout 180 "$tools/env/bin/pip-audit" --no-deps --disable-pip -r "$OUT/requirements.txt" -f json -o "$OUT/audit.json" 2>"$OUT/audit.log"; then
    status=0
else
    status=$?
fi
"$PY" - "$OUT/audit.json" "$status" <<'EOF'
import json, pathlib, sys
path = pathlib.Path(sys.argv[1])
found = json.loads(path.read_text())["dependencies"] if path.is_file() else []
audited = [one for one in found if "skip_reason" not in one]
print(f"supply chain: {len(audited)} of {len(found)} packages audited (pip-audit ended with {sys.argv[2]})")
if not audited:
    print(f"supply chain: nothing is known about weaknesses: pip-audit could not reach the table of them ({path.with_name('audit.log')} has its words)")
for one in audited:
    for weakness in one["vulns"]:
        mended = ", ".join(weakness["fix_versions"]) or "none yet"
        print(f"  known weakness: {one['name']} {one['version']}: {weakness['id']}, mended in {mended}")
EOF
