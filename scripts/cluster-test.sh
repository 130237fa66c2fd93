#!/bin/bash
# Can schedulers train the points of a sweep? Slurm, HyperQueue and GNU parallel each
# train four points on this machine; one of Slurm's is ended by SIGTERM and requeued.
# The report of each must equal that of one process but for times.
#
#     scripts/cluster-test.sh [RESIDUA]
#
# RESIDUA is the program (target/release/residua). Slurm needs root and Debian's
# slurmctld, slurmd, slurm-client and munge; HyperQueue needs `pip install hyperqueue`
# for PYTHON (python3). What is not there is said, and not tested. Exit code 1 if
# anything differs.
set -u
residua=$(realpath "${1:-target/release/residua}")
python=${PYTHON:-python3}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
failures=0
fail() { echo "FAILED: $*" >&2; failures=$((failures + 1)); }
end() {
    scancel --user="$(id -un)" 2>/dev/null
    for daemon in slurmd slurmctld; do
        [ ! -f "$work/$daemon.pid" ] || kill "$(cat "$work/$daemon.pid")"
    done
    rm -rf "$work"
}
trap end EXIT
# A point of its own core: a driver of processors takes all that it sees.
export LP_NUM_THREADS=1
sweep=("$residua" sweep --grid lr=0.1,0.05 --grid seed=0,1 --no-autotune --model resnet8
    --data synthetic:256,32 --batch-size 16 --epochs 8)
points=4

# The results of $1 are those of one process.
compare() {
    "$python" - "$work/alone/results.json" "$work/$1/results.json" <<'END' || fail "$1: its report differs"
import json, sys

def timeless(value):
    if isinstance(value, dict):
        own = ("seconds", "images_per_second", "run")
        return {key: timeless(part) for key, part in value.items() if key not in own}
    return [timeless(part) for part in value] if isinstance(value, list) else value

alone, shared = (timeless(json.load(open(path))) for path in sys.argv[1:])
sys.exit(alone != shared)
END
}
# Writes the report of $1 and compares it; all points must be trained already.
finish() {
    local said
    said=$("${sweep[@]}" --out "$work/$1" 2>&1 >/dev/null) || fail "$1: $said"
    grep -q "$points runs, $points of them trained already" <<<"$said" || fail "$1: not all points were trained: $said"
    compare "$1"
    echo "$1: $(($(date +%s) - begun)) s"
}

begun=$(date +%s)
"${sweep[@]}" --out "$work/alone" >/dev/null 2>"$work/log" || { cat "$work/log" >&2; exit 1; }
echo "one process: $(($(date +%s) - begun)) s"

slurm() {
    local name
    name=$(hostname -s)
    pidof munged >/dev/null || {
        mkdir -p /run/munge && chown munge:munge /run/munge
        setpriv --reuid=munge --regid=munge --clear-groups /usr/sbin/munged || return 1
    }
    mkdir -p "$work/state" "$work/spool"
    cat >"$work/slurm.conf" <<END
ClusterName=test
SlurmctldHost=$name(127.0.0.1)
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
SlurmUser=root
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd.pid
SlurmctldPort=36817
SlurmdPort=36818
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
SlurmctldLogFile=$work/slurmctld.log
SlurmdLogFile=$work/slurmd.log
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
NodeName=$name NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=1000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
END
    export SLURM_CONF=$work/slurm.conf
    slurmctld -f "$SLURM_CONF" && sleep 2 && slurmd -f "$SLURM_CONF" || return 1
    local waited=0
    until sinfo --noheader --format %t | grep -q idle; do
        [ $((waited += 1)) -lt 60 ] || return 1
        sleep 0.5
    done
    begun=$(date +%s)
    local job
    job=$(sbatch --parsable --array=1-$points --output="$work/slurm-%a.log" "$here/cluster/points.sbatch" \
        "${sweep[@]}" --out "$work/slurm") || return 1
    # The second point is ended once it has a checkpoint.
    local second
    second=$("${sweep[@]}" --out "$work/slurm" --list | "$python" -c \
        'import json, sys; print(json.load(sys.stdin)[1]["directory"])')
    waited=0
    until [ -f "$second/last.safetensors" ]; do
        [ $((waited += 1)) -lt 1200 ] || { cat "$work"/slurm-*.log >&2; return 1; }
        sleep 0.1
    done
    # The signal arrives at once, but scancel says that it cannot alter the job, and goes on
    # trying for minutes. Whether the point was stopped is checked below.
    timeout 2 scancel --signal=TERM "${job}_2" 2>"$work/log"
    waited=0
    while squeue --noheader --job "$job" 2>/dev/null | grep -q .; do
        [ $((waited += 1)) -lt 600 ] || { squeue >&2; cat "$work"/slurm-*.log >&2; return 1; }
        # A requeued job waits two minutes, so that a broken node can be found.
        scontrol update JobId="${job}_2" StartTime=now 2>/dev/null
        sleep 0.5
    done
    grep -q 'stopped after step\|stopped; the results so far' "$work/slurm-2.log" ||
        fail "slurm: the second point was not stopped: $(cat "$work/slurm-2.log")"
    finish slurm
}

if [ "$(id -u)" = 0 ] && command -v slurmctld slurmd munged sbatch >/dev/null; then
    slurm || fail "slurm does not run here: $(tail -n 3 "$work"/slurmctld.log "$work"/slurmd.log 2>&1)"
else
    echo "Slurm was not tested: it needs root, slurmctld, slurmd, slurm-client and munge." >&2
fi
if "$python" -c 'import hyperqueue' 2>/dev/null; then
    begun=$(date +%s)
    "$python" "$here/cluster/hyperqueue_points.py" $points "$(nproc)" "${sweep[@]}" --out "$work/hyperqueue" \
        >"$work/log" 2>&1 || fail "hyperqueue: $(cat "$work/log")"
    finish hyperqueue
else
    echo "HyperQueue was not tested: $python has no module hyperqueue (pip install hyperqueue)." >&2
fi
if parallel --version >/dev/null 2>&1; then
    begun=$(date +%s)
    seq $points | parallel --jobs "$(nproc)" "${sweep[@]@Q}" --out "$work/parallel" --point {} >"$work/log" 2>&1 ||
        fail "parallel: $(cat "$work/log")"
    finish parallel
else
    echo "GNU parallel was not tested: it is not installed." >&2
fi
echo "schedulers: $failures failures"
[ $failures = 0 ]
