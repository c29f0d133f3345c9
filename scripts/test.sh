#!/usr/bin/env bash
# Linter, formatter, then the quick tests, in the project's own environment. Arguments go to pytest.
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh" requirements-dev.txt

"$python" -m ruff check .
"$python" -m ruff format --check .
"$python" -m pytest "$@"
