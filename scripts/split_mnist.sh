#!/usr/bin/env bash
# What does forgetting in split MNIST look like? bash scripts/study.sh split_mnist, on the digits where MNIST cannot be had;
# `--help` tells more.
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
data=$(
    started=$PWD
    source "$here/environment.sh" requirements-results.txt
    study=$PWD/scripts/studies/split_mnist.py
    cd "$started" && "$python" "$study" data "$@"
)
exec bash "$here/study.sh" split_mnist $data "$@"
