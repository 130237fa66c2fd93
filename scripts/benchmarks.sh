#!/usr/bin/env bash
# Writes BENCHMARKS.md from the reports in benchmarks/.
#
#     scripts/benchmarks.sh [RESIDUA]
#
# Each folder of benchmarks/ is what scripts/gpu-report.sh wrote for one device.
set -eu
cd "$(dirname "$0")/.."
residua=$(realpath "${1:-target/release/residua}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
{
    echo "# Measured devices"
    echo
    echo "Made from the reports in [benchmarks/](benchmarks) by \`scripts/benchmarks.sh\`. Each folder is one run of"
    echo "\`scripts/gpu-report.sh\`; its report.md has the doctor's verdict, the bits of two trainings, every kernel and a"
    echo "short training."
    for folder in benchmarks/*/; do
        folder=${folder%/}
        results=()
        for name in default-f32 tuned-f32 default-f16 tuned-f16 torch-f32 torch-tf32 torch-compiled torch-amp; do
            [ ! -f "$folder/$name.json" ] || results+=("$name.json")
        done
        echo
        echo "## ${folder#benchmarks/}"
        echo
        (cd "$folder" && "$residua" bench --compare "${results[@]}" --out "$work/out" >/dev/null)
        cp "$work/out/comparison.csv" "$folder/"
        tail -n +3 "$work/out/report.md" | sed "s/^##* /### /; s#](comparison.csv)#]($folder/comparison.csv)#"
        rm -r "$work/out"
    done
} >"$work/page"
mv "$work/page" BENCHMARKS.md
