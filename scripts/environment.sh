# Sourced by the other scripts, with requirements files as arguments:
#
#     source "$(dirname "${BASH_SOURCE[0]}")/environment.sh" requirements.txt
#
# Goes to the root of the repository, makes the project's own virtual environment there (.venv, from ${PYTHON:-python3})
# and installs the files' packages into it, each time their text changes. Sets $python to its interpreter.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python="$PWD/.venv/bin/python"

make_environment() {
    local base=${PYTHON:-python3}
    if ! "$base" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        echo "$base: not a Python 3.11 or newer ($("$base" --version 2>&1 || true)); name one: PYTHON=python3.11 bash $0" >&2
        exit 2
    fi
    echo "making .venv with $("$base" --version)" >&2
    if ! "$base" -m venv --clear .venv >&2; then
        echo "$base: could not make .venv; its venv module is needed (Debian's package python3-venv)" >&2
        exit 2
    fi
}

install() {
    local file=$1 stamp=".venv/installed-$1"
    # Requirements files include one another, so a change of any counts; another Python too.
    if { "$python" --version && cat requirements*.txt; } | cmp --quiet - "$stamp"; then
        return
    fi
    echo "installing $file into .venv; the first time takes minutes, torch is large" >&2
    "$python" -m pip install --quiet --disable-pip-version-check --requirement "$file" >&2
    { "$python" --version && cat requirements*.txt; } >"$stamp"
}

# A .venv whose making was interrupted, or whose Python has gone, is made again.
if ! "$python" -m pip --version >/dev/null 2>&1; then
    make_environment
fi
for requirements in "$@"; do
    install "$requirements"
done
