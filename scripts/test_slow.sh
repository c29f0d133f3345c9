#!/usr/bin/env bash
# The tests that take more than a few seconds a case, and only they. Arguments go to pytest.
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh" requirements-dev.txt

"$python" -m pytest --slow "$@"
