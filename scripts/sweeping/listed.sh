# Sourced by the scripts that run a list of command lines and end in a table: the papers' and the studies'. They call
#
#     listed NAME HELP <<<"command lines of main.py"
#
# with the name of the folder of records below results/runs/, and the file whose first comment is the help, after
# defining `table FOLDER`, which prints the table, and the array $quick. The runs are made by scripts/sweep.py, so that a
# script that was stopped goes on where it stopped. Words after a script's name:
#     --quick            what $quick says, into a folder of its own
#     --only PATTERN     only the command lines that match, such as permutations, or "model gem.*rotations"
#     --out DIR          another folder for the records
#     any other flag     of scripts/sweep.py or main.py; it wins over the command lines (--seed 0..4, --workers 4)
# Relative folders among these words are seen from where the script was called.

started=$PWD
source "$(dirname "${BASH_SOURCE[0]}")/../environment.sh" requirements-results.txt

words=("$@")

wrong() {
    echo "$(basename "$0"): $1" >&2
    exit 2
}

# A folder that was named where the script was called, as seen from the root, where it runs.
from_root() {
    if [[ $1 && $1 != /* && $started != "$PWD" ]]; then
        echo "$started/$1"
    else
        echo "$1"
    fi
}

# What is said at the head of a script, without its marks.
heading() {
    sed -n '/^#!/d; /^#/!q; s/^# \{0,1\}//p' "$1"
}

listed() {
    local name=$1 help=$2 folder="" only="" quickly=() more=() status=0 flag="" i lines
    for ((i = 0; i < ${#words[@]}; i++)); do
        case ${words[i]} in
        -h | --help)
            heading "$help"
            return 0
            ;;
        --quick) quickly=("${quick[@]}") ;;
        --only=*) only=${words[i]#*=} ;;
        --only) only=${words[++i]-} && [[ $only ]] || wrong "--only needs a pattern, such as permutations" ;;
        --out=*) folder=$(from_root "${words[i]#*=}") ;;
        --out)
            folder=${words[++i]-} && [[ $folder ]] || wrong "--out needs a folder"
            folder=$(from_root "$folder")
            ;;
        --data_path=* | --raw_path=* | --tensorboard=*)
            more+=("${words[i]%%=*}" "$(from_root "${words[i]#*=}")")
            ;;
        --*) flag=${words[i]} && more+=("$flag") ;;
        *)
            if [[ $flag == --data_path || $flag == --raw_path || $flag == --tensorboard ]]; then
                words[i]=$(from_root "${words[i]}")
            fi
            more+=("${words[i]}")
            ;;
        esac
    done
    folder=${folder:-results/runs/$name${quickly:+_quick}}
    lines=$(grep -e "$only") || wrong "--only $only: matches none of the command lines; --print lists them"
    "$python" scripts/sweep.py - --out "$folder" "${quickly[@]}" "${more[@]}" <<<"$lines" || status=$?
    if [[ " ${more[*]} " != *" --print "* ]] && ((status < 2)); then # 1: some jobs failed; the table shows the others
        echo
        table "$folder"
    fi
    return "$status"
}
