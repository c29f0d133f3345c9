#!/usr/bin/env bash
# A study of this project, its runs and then its tables: bash scripts/study.sh NAME, where NAME is one of those below.
# `bash scripts/study.sh NAME --help` tells of each, `--quick` makes a small version, `--print` lists the command lines;
# see scripts/sweeping/listed.sh for other words. Records go to results/runs/NAME/, and the same command continues.
study=${1:-}
source "$(dirname "${BASH_SOURCE[0]}")/sweeping/listed.sh" "${@:2}"

names() {
    local file
    for file in scripts/studies/*.sh; do
        printf '  %-16s %s\n' "$(basename "$file" .sh)" "$(heading "$file" | head -1)"
    done
}

case $study in
-h | --help)
    heading scripts/study.sh
    names
    exit
    ;;
"" | *[!a-z_]*) wrong "${study:-no name}: not a study; they are"$'\n'"$(names)" ;;
esac
[[ -e scripts/studies/$study.sh ]] || wrong "$study: not a study; they are"$'\n'"$(names)"

compare() { # arguments of results.compare
    "$python" -m results.compare "$@" --format markdown
}

source "scripts/studies/$study.sh"
listed "$study" "scripts/studies/$study.sh" <<<"$lines"
