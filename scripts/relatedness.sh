#!/usr/bin/env bash
# What are relatedness and groups worth? bash scripts/study.sh relatedness; `--help` tells more.
set -euo pipefail
exec bash "$(dirname "${BASH_SOURCE[0]}")/study.sh" relatedness "$@"
