#!/usr/bin/env bash
# Which way of A-GEM is correct? bash scripts/study.sh which_agem; `--help` tells more.
set -euo pipefail
exec bash "$(dirname "${BASH_SOURCE[0]}")/study.sh" which_agem "$@"
