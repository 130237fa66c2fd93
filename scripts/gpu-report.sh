#!/usr/bin/env bash
# How well does this machine's GPU work, and how fast is it? One folder of JSON and
# Markdown, in less than eight minutes.
#
#     scripts/gpu-report.sh FOLDER [RESIDUA]
#
# FOLDER is made; RESIDUA is the program (target/release/residua). It needs a driver
# of the GPU. For the comparison with PyTorch it needs Python with torch
# (PYTHON=python3); without it, the report says so. No compiler, no network.
#
#   ADAPTER=NAME    the adapter, as for --adapter
#   DATA=SPEC       real images for the short training, as for --data
#                   (the built-in ones otherwise)
#   MODELS=LIST     networks with batch sizes, as for bench --models
#   SECONDS_LIMIT=N seconds for everything (470)
set -u
folder=${1:?usage: scripts/gpu-report.sh FOLDER [RESIDUA]}
residua=${2:-target/release/residua}
python=${PYTHON:-python3}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "$folder" || exit 1
[ -z "$(ls -A "$folder")" ] || { echo "error: $folder is not empty; name a new folder" >&2; exit 2; }
"$residua" --version >/dev/null || { echo "error: $residua does not run; build it or name it" >&2; exit 2; }
folder=$(cd "$folder" && pwd)
residua=$(cd "$(dirname "$residua")" && pwd)/$(basename "$residua")

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Tuning and compiled kernels of their own: the report does not depend on what ran
# before, and leaves nothing behind.
export XDG_CACHE_HOME=$work/cache
adapter=(${ADAPTER:+--adapter "$ADAPTER"})
begun=$(date +%s)
deadline=$((begun + ${SECONDS_LIMIT:-470}))
report=$folder/report.md

say() { printf '%s\n' "$@" >>"$report"; }
section() {
    echo "== $(($(date +%s) - begun)) s: $*"
    say "" "" && say "## $*" && say ""
}
# Runs a command for at most $1 seconds, or until the end of the report's time.
# Standard error goes to the log. What fails is part of the report.
bounded() {
    local limit=$1 left=$((deadline - $(date +%s))) code
    shift
    [ "$left" -ge 5 ] || { say "Not run, no time was left: \`${*/#"$work"/.}\`"; return 1; }
    [ "$limit" -le "$left" ] || limit=$left
    timeout --kill-after 5 "$limit" "$@" 2>>"$folder/log.txt"
    code=$?
    case $code in
    0) return 0 ;;
    124 | 137) say "Stopped after $limit s: \`${*/#"$work"/.}\`" ;;
    *) say "Exit code $code: \`${*/#"$work"/.}\` ($(tail -n 1 "$folder/log.txt"))" ;;
    esac
    return 1
}
# A file that holds a whole result, or none.
keep() { if [ -s "$2" ]; then mv "$2" "$1"; else rm -f "$2"; fi; }

echo "# GPU report of $(date -u +%F)" >"$report"
section "Devices"
bounded 30 "$residua" devices --json >"$work/out" && keep "$folder/devices.json" "$work/out"
devices=$(bounded 30 "$residua" devices)
say '```' "$devices" '```'
is_cpu=$(grep -c 'Cpu;' <<<"$devices")
others=$(grep -cE '(Discrete|Integrated|Virtual)[A-Za-z]*;' <<<"$devices")
if [ "$is_cpu" -gt 0 ] && [ "$others" -eq 0 ]; then
    # A processor's driver: small networks, so that everything fits in the time.
    models=${MODELS:-resnet20@32,wrn-16-4@8}
    images=192 device=cpu doctor_limit=150 tune_limit=40 tuned=f32
else
    models=${MODELS:-resnet20@128,resnet110@128,wrn-16-4@128,wrn-28-10@128,resnet50@32}
    images=4096 device=cuda doctor_limit=100 tune_limit=25 tuned='f32 f16'
fi

section "Doctor"
bounded $doctor_limit "$residua" doctor "${adapter[@]}" --quick --json --report "$folder/doctor.md" >"$folder/doctor.json" &&
    say "Every check passed; see doctor.md."

section "The same bits twice"
for run in 1 2; do
    bounded 60 "$residua" train "${adapter[@]}" --model resnet20 --data "synthetic:$images,32" --batch-size 32 --epochs 1 \
        --no-autotune --seed 1 --out "$work/bits$run" >/dev/null &&
        sha256sum <"$work/bits$run/last.safetensors" | cut -d' ' -f1 >>"$work/hashes"
done
if [ "$(wc -l <"$work/hashes" 2>/dev/null)" = 2 ]; then
    if [ "$(sort -u "$work/hashes" | wc -l)" = 1 ]; then
        say "Two trainings gave the same weights: $(head -n 1 "$work/hashes")"
    else
        say "**Two trainings gave different weights**: $(tr '\n' ' ' <"$work/hashes")"
    fi
fi

section "A short training against the known error"
# The built-in images are learned almost without an error; a wrong kernel shows here.
bounded 100 "$residua" train "${adapter[@]}" ${DATA:+--data "$DATA"} --out "$work/short" --json >"$work/out" &&
    keep "$folder/training.json" "$work/out"
[ ! -f "$work/short/metrics.csv" ] || { say '```' && tail -n 3 "$work/short/metrics.csv" >>"$report" && say '```'; }
[ -n "${DATA:-}" ] || say "On the built-in images the test error after the last epoch is below 2 % where every kernel is right."

section "Networks, beside PyTorch on the same device in turn"
has_torch=0
if "$python" -c 'import torch' 2>/dev/null; then has_torch=1; else say "Without PyTorch: \`$python\` has no module torch."; fi
# Ours and PyTorch's alternate, so that a change of the machine's speed meets both.
ours() {
    local name=$1
    shift
    bounded 100 "$residua" bench "${adapter[@]}" --networks --quick --models "$models" --json "$@" >"$work/out" &&
        keep "$folder/$name.json" "$work/out"
}
peer() {
    local name=$1
    shift
    [ $has_torch = 1 ] || return 0
    bounded 60 "$python" "$here/gpu_report_torch.py" --models "$models" --device $device "$@" >"$work/out" &&
        keep "$folder/$name.json" "$work/out"
}
ours default-f32 --no-autotune
peer torch-f32 --mode f32
ours default-f16 --no-autotune --precision f16
peer torch-amp --mode amp
for model in ${models//,/ }; do
    for precision in $tuned; do
        bounded $tune_limit "$residua" tune "${adapter[@]}" "${model%@*}" --batch-size "${model#*@}" --precision $precision --json \
            >/dev/null
    done
done
ours tuned-f32
[ $device = cpu ] || peer torch-tf32 --mode tf32
[ $device = cpu ] || ours tuned-f16 --precision f16
peer torch-compiled --mode f32 --compile
cp "$XDG_CACHE_HOME"/residua/tuning.toml "$folder/" 2>/dev/null
results=()
for name in default-f32 tuned-f32 default-f16 tuned-f16 torch-f32 torch-tf32 torch-compiled torch-amp; do
    [ ! -f "$folder/$name.json" ] || results+=("$name.json")
done
if [ ${#results[@]} -ge 2 ]; then
    (cd "$folder" && bounded 20 "$residua" bench --compare "${results[@]}" --out "$work/networks" >/dev/null)
    [ ! -f "$work/networks/report.md" ] || {
        tail -n +3 "$work/networks/report.md" >>"$report"
        cp "$work/networks/comparison.csv" "$folder/"
    }
fi

section "Peak rates and kernels"
bounded 60 "$residua" bench "${adapter[@]}" --peak --kernels --quick --out "$work/kernels" >/dev/null &&
    cp "$work/kernels/bench.json" "$folder/kernels-f32.json" && cp "$work"/kernels/*.csv "$folder/" && tail -n +3 "$work/kernels/report.md" >>"$report"
bounded 60 "$residua" bench "${adapter[@]}" --kernels --quick --precision f16 --json >"$work/out" &&
    keep "$folder/kernels-f16.json" "$work/out"

section "Took"
say "$(($(date +%s) - begun)) s."
echo "== $(($(date +%s) - begun)) s: $report"
