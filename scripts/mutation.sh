#!/usr/bin/env bash
# Mutation testing: which changes of an operator or a number would no quick test notice? Arguments are modules, such as
# model/memory.py (default: all of the table below). Works in a copy; MUTATION_FOLDER says where (default: a new one).
# MUTATION_SAMPLE=20 tries twenty of each module's mutants, drawn at random: those of an engine are hundreds.
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh" requirements-dev.txt
export OMP_NUM_THREADS=1

# Each module with the tests that concern it, the quickest first.
engine=tests/model/engine
declare -A tests=(
    [model/engine/autograd.py]="$engine/test_engine.py $engine/test_partition.py tests/model/test_replay.py tests/model/test_optimizer.py
        tests/model/test_networks.py tests/model/test_ogd.py tests/test_cuda.py"
    [model/engine/batch.py]="tests/model/test_replay.py"
    [model/engine/fast.py]="$engine/test_engine.py $engine/test_fast.py $engine/test_held.py tests/model/test_replay.py
        tests/model/test_optimizer.py tests/model/test_networks.py"
    [model/engine/flat.py]="$engine/test_flat.py $engine/test_engine.py"
    [model/engine/held.py]="$engine/test_held.py"
    [model/engine/layers.py]="$engine/test_fast.py $engine/test_engine.py"
    [model/engine/orthogonal.py]="$engine/test_orthogonal.py"
    [model/engine/partition.py]="$engine/test_partition.py"
    [model/engine/passes.py]="$engine/test_fast.py $engine/test_engine.py tests/model/test_networks.py"
    [model/engine/scoring.py]="$engine/test_scoring.py tests/test_evaluation.py tests/experiment/test_evaluation.py"
    [model/engine/sequence.py]="tests/model/test_replay.py"
    [model/numeric/projection.py]="tests/model/numeric/test_projection.py"
    [model/numeric/blockwise.py]="tests/model/numeric/test_blockwise.py"
    [model/memory.py]="tests/model/test_memory.py tests/model/test_room.py"
    [metrics/metrics.py]="tests/metrics/test_metrics.py"
    [results/comparing/inference.py]="tests/results/comparing/test_inference.py"
)
modules=("$@")
[ $# -gt 0 ] || modules=("${!tests[@]}")
folder=${MUTATION_FOLDER:-$(mktemp -d)}
mkdir -p "$folder"
# The tool goes into the folder, so that the project's environment stays as it is.
"$python" -c "import mutmut" 2> /dev/null || {
    export PYTHONPATH="$folder/tools${PYTHONPATH:+:$PYTHONPATH}"
    "$python" -c "import mutmut" 2> /dev/null || "$python" -m pip install --quiet --target "$folder/tools" mutmut==3.8.1
}
python=$("$python" -c 'import sys; print(sys.executable)')
for module in "${modules[@]}"; do
    [ -n "${tests[$module]:-}" ] || { echo "mutation.sh: $module: the modules are ${!tests[*]}" >&2; exit 2; }
    copy="$folder/${module//\//_}"
    rm -rf "$copy"
    mkdir -p "$copy"
    git ls-files -z -- ':!results/logged' | xargs -0 cp --parents -t "$copy"
    cp -r results/logged "$copy/results/"
    top=${module%%/*}
    copied=$(cd "$copy" && ls | grep -v -x -e "$top" -e tests -e setup.cfg)
    {
        echo "[mutmut]"
        echo "source_paths=$top"
        echo "only_mutate=$module"
        printf 'also_copy=\n'
        printf '    %s\n' $copied
        printf 'pytest_add_cli_args_test_selection=\n'
        printf '    %s\n' ${tests[$module]}
        printf 'pytest_add_cli_args=\n    -p\n    no:cacheprovider\n    -k\n    not thousand\n' # thousands of cases take seconds
    } > "$copy/setup.cfg"
    if [ -n "${MUTATION_SAMPLE:-}" ]; then
        (cd "$copy" && "$python" scripts/mutants.py "$MUTATION_SAMPLE" "$module" ${tests[$module]})
        continue
    fi
    (cd "$copy" && "$python" -m mutmut run --max-children "${MUTATION_PROCESSES:-1}" > mutmut.log 2>&1) || tail -5 "$copy/mutmut.log"
    (cd "$copy" && "$python" - "$module") <<'PYTHON'
"""Print the score of one module, and the mutants that survived."""
import json, sys
from collections import Counter
from pathlib import Path

codes = json.loads(Path("mutants", sys.argv[1] + ".meta").read_text())["exit_code_by_key"]
name = {0: "survived", 5: "no tests", 33: "no tests", 34: "skipped", None: "not run"}
of = Counter(name.get(code, "killed") for code in codes.values())
total = len(codes) - of["skipped"] - of["not run"]
print(f"{sys.argv[1]}: {of['killed']} of {total} mutants killed, {of['killed'] / max(total, 1):.1%}", dict(of))
for key, code in codes.items():
    if name.get(code) in ("survived", "no tests"):
        print("  ", name[code], key)
PYTHON
done
