# Shared by the scripts: finds or makes the Python environment and leaves it in LOREAL_PY. Meant to be sourced.
#
# 1. LOREAL_PYTHON, if set, is used as it is.
# 2. An active environment in which loreal_plugin imports is used as it is.
# 3. Otherwise .venv at the root of the checkout, made and filled on first use; an interrupted set-up goes on
#    where it stopped, and two at a time wait for each other.

# Inside a host that `loreal patch` has patched, HOST is that host; where its scripts are links, the environment is
# that of the checkout they point into.

LOREAL_HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
LOREAL_SELF="$(readlink "${BASH_SOURCE[0]}" || printf '%s' "${BASH_SOURCE[0]}")"
LOREAL_ROOT="$(cd "$(dirname "$LOREAL_SELF")/../.." && pwd)"
if [ -z "${HOST:-}" ] && [ -f "$LOREAL_HERE/.loreal-patch.json" ]; then
    export HOST="$LOREAL_HERE"
fi
LOREAL_VENV="$LOREAL_ROOT/.venv"

loreal_say() { printf '%s\n' "$*" >&2; }

loreal_fail() {
    printf 'error: %s\n' "$*" >&2
    exit 2
}

# True if the interpreter $1 finds loreal_plugin from an unrelated folder, so that it is really installed there. It
# looks for torch and does not import it, which takes seconds.
loreal_installed() {
    local look='import sys; from importlib.util import find_spec as f; sys.exit(not all(map(f, sys.argv[1:])))'
    (cd / && "$1" -c "$look" loreal_plugin torch yacs) >/dev/null 2>&1
}

# Prints an interpreter that the project runs on.
loreal_find_python() {
    local name
    for name in python3 python python3.13 python3.12 python3.11 python3.10; do
        if command -v "$name" >/dev/null 2>&1 &&
            "$name" -c 'import sys; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1; then
            command -v "$name"
            return
        fi
    done
    return 1
}

# What the environment was made from: it is set up again when this changes.
loreal_wanted() { cat "$LOREAL_ROOT/setup.py" "$LOREAL_ROOT/pyproject.toml" | cksum; }

# Fills .venv with the project and the extras $1 (may be empty). Runs under a lock.
loreal_set_up() {
    local extras="$1" stamp="$LOREAL_VENV/.loreal-$1" base
    if [ -x "$LOREAL_VENV/bin/python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$(loreal_wanted)" ]; then
        return
    fi
    if ! "$LOREAL_VENV/bin/python" -m pip --version >/dev/null 2>&1; then
        base="$(loreal_find_python)" || loreal_fail "Python 3.10 or later was looked for and not found; install it, or set LOREAL_PYTHON"
        loreal_say "making the environment $LOREAL_VENV with $base"
        rm -rf "$LOREAL_VENV"
        "$base" -m venv "$LOREAL_VENV" ||
            loreal_fail "'$base -m venv' failed; install the venv module (Debian, Ubuntu: python3-venv), or set LOREAL_PYTHON"
    fi
    loreal_say "installing loreal-plugin${extras:+[$extras]} and what it needs into $LOREAL_VENV (once; torch alone can be"
    loreal_say "some GB, a CPU-only build is smaller: PIP_INDEX_URL and PIP_EXTRA_INDEX_URL are passed on to pip)"
    "$LOREAL_VENV/bin/python" -m pip install --disable-pip-version-check -e "$LOREAL_ROOT${extras:+[$extras]}" >&2 ||
        loreal_fail "the installation into $LOREAL_VENV failed (see above); run the same command again to go on"
    loreal_wanted >"$stamp"
}

# Runs loreal_set_up alone: flock where there is one, else a lock folder that a killed owner does not keep.
loreal_set_up_locked() {
    local lock="$LOREAL_ROOT/.venv.lock"
    if command -v flock >/dev/null 2>&1; then
        (
            flock -n 9 || { loreal_say "another set-up of $LOREAL_VENV is running; waiting for it"; flock 9; }
            loreal_set_up "$1"
        ) 9>"$lock" || exit $?
        return
    fi
    until mkdir "$lock.d" 2>/dev/null; do
        if ! kill -0 "$(cat "$lock.d/pid" 2>/dev/null)" 2>/dev/null && [ -e "$lock.d/pid" ]; then
            rm -rf "$lock.d"
        fi
        sleep 1
    done
    echo "$$" >"$lock.d/pid"
    (loreal_set_up "$1")
    local code=$?
    rm -rf "$lock.d"
    [ "$code" = 0 ] || exit "$code"
}

# Sets LOREAL_PY; $1: extras that .venv is wanted with (may be empty).
loreal_environment() {
    local name
    if [ -n "${LOREAL_PYTHON:-}" ]; then
        command -v "$LOREAL_PYTHON" >/dev/null 2>&1 || loreal_fail "LOREAL_PYTHON '$LOREAL_PYTHON' is no interpreter"
        LOREAL_PY="$LOREAL_PYTHON"
        # a bare interpreter with the dependencies runs this checkout
        loreal_installed "$LOREAL_PY" || export PYTHONPATH="$LOREAL_ROOT${PYTHONPATH:+:$PYTHONPATH}"
        return
    fi
    for name in python python3; do
        if command -v "$name" >/dev/null 2>&1 && loreal_installed "$name"; then
            LOREAL_PY="$(command -v "$name")"
            return
        fi
    done
    [ -f "$LOREAL_ROOT/setup.py" ] && [ -d "$LOREAL_ROOT/loreal_plugin" ] ||
        loreal_fail "no active Python imports loreal_plugin; activate the environment it is installed in, or set LOREAL_PYTHON"
    loreal_set_up_locked "${1:-}"
    LOREAL_PY="$LOREAL_VENV/bin/python"
}

# The body of the scripts: prints the head of the script $1 for --help, else runs `loreal $2` with $3 (extra words, may
# be empty) and the rest.
loreal_protocol() {
    local script="$1" command="$2" extra="$3"
    shift 3
    case "${1:-}" in
        -h | --help)
            sed -n '2,/^set -/{/^set -/d; s/^# \{0,1\}//; p;}' "$script"
            exit 0
            ;;
    esac
    [ $# -ge 2 ] || loreal_fail "usage: $(basename "$script") METHOD PHI [DATASET=demo] [SEED=1] [-- KEY VALUE ...]"
    local host="${HOST:-}"
    host="${host/#\~/${HOME:-}}"
    if [ -n "$host" ] && [ ! -d "$host" ] && [ ! -d "$LOREAL_ROOT/$host" ]; then
        loreal_fail "HOST '$HOST' is no folder; give the root of a CoOp-family checkout, or leave it empty"
    fi
    loreal_environment "${HOST:+hosts}" # the original Dassl imports more than the embedded one
    exec "$LOREAL_PY" -m loreal_plugin "$command" ${extra:+"$extra"} "$@"
}
