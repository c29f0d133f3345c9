# Sourced by the paper scripts, which then call
#
#     paper NAME <<<"command lines of main.py"
#
# It runs them through scripts/sweep.py, so that a script that was stopped goes on where it stopped, and ends in the
# table "paper / ours". Words after a script's name:
#     --quick            what $quick says, into a folder of its own
#     --only WORD        only the command lines with WORD in them, such as permutations
#     any other flag     of scripts/sweep.py or main.py; it wins over the command lines (--seed 0..4, --workers 4)

source "$(dirname "${BASH_SOURCE[0]}")/environment.sh" requirements-results.txt

words=("$@")
cuda=$("$python" -c 'import torch; print("yes" if torch.cuda.is_available() else "no")')

paper() {
    local name=$1 folder=results/runs/paper_$1 only="" more=() status=0 i
    for ((i = 0; i < ${#words[@]}; i++)); do
        case ${words[i]} in
        --quick) folder+=_quick more+=("${quick[@]}") ;;
        --only) only=${words[++i]:?--only needs a word, such as permutations} ;;
        --out) folder=${words[++i]:?--out needs a folder} ;;
        *) more+=("${words[i]}") ;;
        esac
    done
    grep -e "$only" | "$python" scripts/sweep.py - --out "$folder" "${more[@]}" || status=$?
    if [[ " ${more[*]} " != *" --print "* ]] && ((status < 2)); then # 1: some jobs failed; the table shows the others
        echo
        "$python" scripts/paper_table.py "$name" "$folder"
    fi
    return "$status"
}
