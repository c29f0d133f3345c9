# Sourced by the paper scripts, which then call
#
#     paper NAME <<<"command lines of main.py"
#
# It runs them through scripts/sweep.py, so that a script that was stopped goes on where it stopped, and ends in the
# table "paper / ours". Words after a script's name:
#     --quick            what $quick says, into a folder of its own
#     --only PATTERN     only the command lines that match, such as permutations, or "model gem.*rotations"
#     --out DIR          another folder for the records
#     any other flag     of scripts/sweep.py or main.py; it wins over the command lines (--seed 0..4, --workers 4)

started=$PWD
source "$(dirname "${BASH_SOURCE[0]}")/../environment.sh" requirements-results.txt

words=("$@")
cuda=$("$python" -c 'import torch; print("yes" if torch.cuda.is_available() else "no")')

wrong() {
    echo "paper_$name.sh: $1" >&2
    exit 2
}

paper() {
    name=$1
    local folder=results/runs/paper_$1 only="" quickly=() more=() status=0 i lines
    for ((i = 0; i < ${#words[@]}; i++)); do
        case ${words[i]} in
        -h | --help)
            sed -n '2,/^[^#]/s/^# \{0,1\}//p' "scripts/paper_$name.sh"
            return 0
            ;;
        --quick) quickly=("${quick[@]}") ;;
        --only=*) only=${words[i]#*=} ;;
        --only) only=${words[++i]-} && [[ $only ]] || wrong "--only needs a pattern, such as permutations" ;;
        --out=*) folder=${words[i]#*=} ;;
        --out) folder=${words[++i]-} && [[ $folder ]] || wrong "--out needs a folder" ;;
        *) more+=("${words[i]}") ;;
        esac
    done
    if [[ $folder == results/runs/paper_$name ]]; then
        folder+=${quickly:+_quick}
    elif [[ $folder != /* ]]; then # relative to where the script was called
        folder=$started/$folder
    fi
    lines=$(grep -e "$only") || wrong "--only $only: matches none of the command lines; --print lists them"
    "$python" scripts/sweep.py - --out "$folder" "${quickly[@]}" "${more[@]}" <<<"$lines" || status=$?
    if [[ " ${more[*]} " != *" --print "* ]] && ((status < 2)); then # 1: some jobs failed; the table shows the others
        echo
        "$python" scripts/papers/table.py "$name" "$folder"
    fi
    return "$status"
}
