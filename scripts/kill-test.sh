#!/bin/bash
# Does a program that is killed lose nothing? Starts trainings, sweeps and lesion
# studies, ends them by SIGKILL, SIGTERM and SIGINT at random moments, continues
# them, and compares the final files with those of a program that was left alone.
#
#     scripts/kill-test.sh [KILLS [FOLDER-OF-THE-PROGRAMS]]
#
# KILLS is 200 by default, the folder target/release. ADAPTER=reference uses the
# CPU reference, SEED repeats the random moments. Exit code 1 if anything differs.
set -u -m
kills=${1:-200}
programs=${2:-target/release}
RANDOM=${SEED:-$$}
seed=${SEED:-$$}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
adapter=(${ADAPTER:+--adapter "$ADAPTER"})
small=(--model resnet8 --data synthetic:96,32 --batch-size 16 --epochs 2 --lr 0.05 --no-autotune "${adapter[@]}")
declare -A sent ended failed
done_kills=0
errors=0

# The command that begins or continues in a directory. A run continues by
# --resume; a study by the same command.
set_command() {
    case $1 in
    train)
        if [ -f "$2/run.toml" ]; then
            command=("$programs/residua" train --resume "$2" --no-autotune "${adapter[@]}")
        else
            command=("$programs/residua" train "${small[@]}" --checkpoint-every 2 --log-steps --log-gradients --out "$2")
        fi
        ;;
    sweep) command=("$programs/tools" sweep --grid seed=0,1,2 "${small[@]}" --epochs 1 --out "$2") ;;
    lesion)
        command=("$programs/tools" lesion --run "$work/train.whole" --pairs --delete-random 1..3 --trials 4
            --no-autotune "${adapter[@]}" --out "$2")
        ;;
    esac
}
start() {
    set_command "$@"
    "${command[@]}" >"$work/stdout" 2>"$work/stderr"
}

# The files of a directory that must be equal, without what depends on the time.
digest() {
    case $1 in
    train) runs=$2 ;;
    sweep) runs=$(echo "$2"/runs/*) ;;
    lesion) runs= ;;
    esac
    for run in $runs; do
        (cd "$run" && sha256sum last.safetensors best.safetensors $(ls steps.csv gradients.csv 2>/dev/null) &&
            cut -d, -f1-6 metrics.csv | sha256sum)
    done
    if [ "$1" = lesion ]; then
        sed 's/,"seconds":[0-9.e-]*//' "$2/results.jsonl" | sort | sha256sum
    fi
    if [ "$1" != train ]; then [ -f "$2/report.html" ] && [ -f "$2/results.json" ] || echo "no report"; fi
    find "$2" -name '*.part' -o -name '.lock' | sed 's/^/left behind: /'
}

fail() {
    errors=$((errors + 1))
    echo "FAILED: $*"
    tail -n 3 "$work/stderr"
}

now() { date +%s%N; }
for kind in train sweep lesion; do
    began=$(now)
    start $kind "$work/$kind.whole" || fail "$kind, left alone, ends with $?"
    eval "time_$kind=$((($(now) - began) / 1000000))"
    digest $kind "$work/$kind.whole" >"$work/$kind.digest"
done

round=0
while [ $done_kills -lt "$kills" ]; do
    kinds=(train train sweep lesion)
    kind=${kinds[$((round % 4))]}
    round=$((round + 1))
    target=$work/$kind.$round
    limit=time_$kind
    # Some kills in a row, then it is left alone.
    for _ in $(seq $((1 + RANDOM % 6))); do
        [ $done_kills -lt "$kills" ] || break
        signals=(KILL TERM INT)
        signal=${signals[$((RANDOM % 3))]}
        set_command $kind "$target"
        "${command[@]}" >"$work/stdout" 2>"$work/stderr" &
        job=$!
        sleep "$(awk -v r=$RANDOM -v t=${!limit} 'BEGIN { print r / 32768 * t / 1000 }')"
        kill -"$signal" $job 2>/dev/null
        wait $job 2>/dev/null
        code=$?
        case $signal,$code in
        KILL,137 | TERM,143 | INT,130)
            done_kills=$((done_kills + 1))
            sent[$kind-$signal]=$((${sent[$kind-$signal]:-0} + 1))
            ;;
        *,0) ended[$kind]=$((${ended[$kind]:-0} + 1)) ;;
        *)
            failed[$kind]=$((${failed[$kind]:-0} + 1))
            fail "$kind after SIG$signal ends with $code"
            done_kills=$((done_kills + 1))
            ;;
        esac
    done
    start $kind "$target" || fail "$kind, continued, ends with $?"
    digest $kind "$target" | sed "s#$target#$work/$kind.whole#g" >"$work/digest"
    cmp -s "$work/digest" "$work/$kind.digest" || {
        fail "$kind differs from one that was left alone"
        diff "$work/digest" "$work/$kind.digest"
    }
    rm -rf "$target"
done

echo "$done_kills kills in $round directories, seed $seed:"
for key in "${!sent[@]}"; do echo "  $key ${sent[$key]}"; done | sort
for key in "${!ended[@]}"; do echo "  $key ended before the signal: ${ended[$key]}"; done | sort
echo "$errors failures"
[ $errors -eq 0 ]
