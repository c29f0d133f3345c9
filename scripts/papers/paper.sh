# Sourced by the paper scripts, which then call
#
#     paper NAME <<<"command lines of main.py"
#
# and end in the table "paper / ours". What words they take, and where records go: scripts/sweeping/listed.sh.

source "$(dirname "${BASH_SOURCE[0]}")/../sweeping/listed.sh"

cuda=$("$python" -c 'import torch; print("yes" if torch.cuda.is_available() else "no")')

paper() {
    paper=$1
    table() {
        "$python" scripts/papers/table.py "$paper" "$1"
    }
    listed "paper_$paper" "scripts/paper_$paper.sh"
}
