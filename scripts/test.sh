#!/usr/bin/env bash
# Linter, formatter, then the quick tests, in the project's own environment. Arguments go to pytest.
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh" requirements-dev.txt

"$python" -m ruff check .
"$python" -m ruff format --check .
# A process a core, each computing on one thread unless a test asks for more.
cores=$("$python" -c 'import os; print(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())')
OMP_NUM_THREADS=1 "$python" -m pytest --numprocesses "$cores" --dist worksteal "$@"
