#!/usr/bin/env bash
# Planning over very many targets: blast radius of everything, the forecast of a year, what one observation sets in motion, the queue.
# The store is made through the store's own functions: wildcards with thousands of targets down to certificates with one, 20 regions,
# 500 stamps, 300 services, 3 roots, 12 intermediates, 50 releases. Chains are left out, since none of this reads them.
#
#   bench/planning.sh [TARGETS] [CERTIFICATES]     (1000000 and 200000 unless told otherwise; 4 GB below TMPDIR, some minutes)
set -euo pipefail
export LC_ALL=C
targets=${1:-1000000} certificates=${2:-200000}
here=$(cd "$(dirname "$0")/.." && pwd)
target=${CARGO_TARGET_DIR:-$here/target}/release
if [ -z "${SKIP_BUILD:-}" ]; then
    (cd "$here" && cargo build --release -p engine --example planning)
fi
planning=${PLANNING:-$target/examples/planning}
work=${KEEP:-$(mktemp -d "${TMPDIR:-/tmp}/perennial-planning.XXXXXX")}
mkdir -p "$work"
trap '[ -n "${KEEP:-}" ] || rm -rf "$work"' EXIT

say() { echo "planning: $*" >&2; }
store="$work/store.db"
if [ ! -e "$store" ]; then
    begun=$(date +%s)
    "$planning" fill "$store" "$targets" "$certificates" >/dev/null
    say "filled in $(($(date +%s) - begun)) s, $(du -sm "$work" | cut -f1) MB"
fi
measure() { "$planning" "$1" "$store"; }
# Once to have the file in memory, as it is beside a running server.
measure forecast >/dev/null
read -r forecast forecast_peak breaking < <(measure forecast)
read -r groups groups_peak _ < <(measure groups)
read -r blast blast_peak found < <(measure blast)
read -r effect50 effect95 effect_peak < <(measure effect)
read -r queue _ < <(measure queue)

row() { # what, goal, measured, unit
    awk -v what="$1" -v goal="$2" -v got="$3" -v unit="$4" 'BEGIN {
        printf "| %s | ≤ %s %s | %s %s | %.2f | %s |\n", what, goal, unit, got, unit, got / goal, got + 0 <= goal + 0 ? "yes" : "NO" }'
}
cat <<TABLE
| $targets targets, $certificates certificates, SQLite | goal | measured | measured ÷ goal | reached |
|---|---|---|---|---|
$(row 'blast radius of everything, four ways and two windows' 3 "$blast" s)
$(row 'its peak of memory' 512 "$blast_peak" MiB)
$(row 'forecast of a year, first page by target' 5 "$forecast" s)
$(row 'forecast of a year, first page by certificate and date' 5 "$groups" s)
$(row 'one observation until forecast and queue are right, median' 5 "$effect50" ms)
$(row 'the same, 95th percentile' 5 "$effect95" ms)

$breaking targets break within the year; $found groups and windows. Peaks of memory: forecast $forecast_peak MiB, by certificate $groups_peak MiB,
observations $effect_peak MiB. The first page of the queue takes $queue ms. Half of the observations are of the ten wildcards.
TABLE
