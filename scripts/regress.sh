#!/usr/bin/env bash
# To be run before a release, and after every change of a method or an engine: do the digits still agree? Runs the parity
# cases and the golden runs (under 5 minutes) and checks them against results/logged/; with --full, the A-GEM note's
# three ways too, after scripts/compare_agem.sh has made its runs. Exit status 1, and a table, if something deviates.
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh" requirements.txt

case ${1:-} in
"" | --full) ;;
*)
    echo "regress.sh: $1: give --full or nothing" >&2
    exit 2
    ;;
esac

status=0
"$python" scripts/golden.py || status=$?
if [[ ${1:-} == --full ]]; then
    bash scripts/compare_agem.sh
    "$python" -m results.regress --against results/logged/seed_004.json results/runs/which_agem || status=$?
fi
exit "$status"
