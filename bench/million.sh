#!/usr/bin/env bash
# A store with one million certificates: import, start, sweep, lists and memory of the real server, over its API.
#
#   bench/million.sh [COUNT]     (1000000 unless told otherwise; needs curl, awk, and 12 GB below TMPDIR for a million)
#
# Environment: SKIP_BUILD=1 takes the programs as they are; PERENNIAL=FILE measures another program; CERTIFICATES=FILE imports that file
# instead of making one; KEEP=DIR works in DIR and leaves everything there.
set -euo pipefail
export LC_ALL=C
count=${1:-1000000}
here=$(cd "$(dirname "$0")/.." && pwd)
target=${CARGO_TARGET_DIR:-$here/target}/release

for tool in curl awk; do
    command -v "$tool" >/dev/null || { echo "bench/million.sh needs $tool" >&2; exit 2; }
done
if [ -z "${SKIP_BUILD:-}" ]; then
    (cd "$here" && cargo build --release -p perennial --bin perennial --example certificates)
fi
perennial=${PERENNIAL:-$target/perennial}
work=${KEEP:-$(mktemp -d)}
mkdir -p "$work"
server=''
finish() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    [ -z "$server" ] || wait "$server" 2>/dev/null || true
    [ -n "${KEEP:-}" ] || rm -rf "$work"
}
trap finish EXIT

say() { echo "million: $*" >&2; }
now() { date +%s.%N; }
since() { awk -v a="$1" -v b="$(now)" 'BEGIN { printf "%.3f", b - a }'; }
# Resident memory of the server in MiB: now, and the most there ever was in this process.
resident() { awk '/^VmRSS/ { printf "%.0f", $2 / 1024 }' "/proc/$server/status"; }
most() { awk '/^VmHWM/ { printf "%.0f", $2 / 1024 }' "/proc/$server/status"; }
peak=0
note_peak() { local m; m=$(most); [ "$m" -le "$peak" ] || peak=$m; say "memory $(resident) MiB, at most $m MiB, after $1"; }

# Starts the server; sets `started` to the seconds from its birth to the first good answer of /readyz.
start() {
    local from
    : >"$work/server.log"
    from=$(now)
    "$perennial" server --data "$work/data" --key-file "$work/key" --listen 127.0.0.1:0 2>>"$work/server.log" &
    server=$!
    until url=$(sed -n 's/.* listens at //p' "$work/server.log") && [ -n "$url" ]; do
        kill -0 "$server" || { cat "$work/server.log" >&2; exit 1; }
        sleep 0.005
    done
    until curl -sf --cacert "$work/data/tls/ca.pem" "$url/readyz" >/dev/null; do
        kill -0 "$server" || { cat "$work/server.log" >&2; exit 1; }
        sleep 0.005
    done
    started=$(since "$from")
    token=$(sed -n 's/^token = "\(.*\)"$/\1/p' "$work/data/client.toml")
}
stop() { kill "-$1" "$server"; wait "$server" 2>/dev/null || true; }
api() { curl -sS --cacert "$work/data/tls/ca.pem" -H "Authorization: Bearer $token" "$@"; }
metric() { api "$url/metrics" | awk -v name="$1" '$1 == name { print $2 }'; }

# The same request over one connection: median and 99th percentile of the milliseconds from request to last byte.
times() {
    local n=201 i
    for ((i = 0; i < n; i++)); do printf 'url = "%s"\noutput = "%s"\n' "$url$1" "$work/answer"; done >"$work/urls"
    api -w '%{time_total} %{time_pretransfer} %{http_code}\n' --config "$work/urls" | awk '
        $3 != 200 { print "status " $3 > "/dev/stderr"; exit 1 }
        { print ($1 - $2) * 1000 }' | sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)], v[int(NR * 0.99)] }'
}

lines=${CERTIFICATES:-$work/certificates.ndjson}
if [ ! -s "$lines" ]; then
    say "making $count certificates"
    "$target/examples/certificates" "$count" >"$lines"
fi

start
note_peak 'the first start'
say "importing"
from=$(now)
head -n "$count" "$lines" | "$perennial" cert import --bulk - --data "$work/data" >"$work/import" 2>&1 || { tail -n 5 "$work/import" >&2; exit 1; }
import_time=$(since "$from")
grep -q "^$count stored, 0 refused" "$work/import" || { tail -n 5 "$work/import" >&2; exit 1; }
[ -n "${CERTIFICATES:-}${KEEP:-}" ] || rm -f "$lines"
rate=$(awk -v n="$count" -v t="$import_time" 'BEGIN { printf "%.0f", n / t }')
note_peak "importing $count in $import_time s, $rate/s"

# Every stored secret is due for an assessment once.
until assessed=$(metric 'perennial_loop_items_total{loop="secret"}') && [ "${assessed:-0}" -ge "$count" ]; do sleep 1; done
assessing=$(since "$from")
busy=$(metric 'perennial_loop_busy_seconds_total{loop="secret"}')
note_peak "$assessed assessments, $assessing s after the import began"
told=$(metric 'perennial_loop_items_total{loop="deliver"}')
size=$(du -sm "$work/data" | cut -f1)

stop TERM
start; start_clean=$started
stop KILL
start; start_killed=$started
note_peak 'starting again'

say "sweeping"
swept=$(api -X POST "$url/v1/sweep" -o "$work/sweep" -w '%{time_total} %{http_code}')
[ "${swept#* }" = 200 ] || { cat "$work/sweep" >&2; exit 1; }
sweep_time=${swept% *}
grep -q "\"secrets\":$((count + 1)),\|\"secrets\":$count," "$work/sweep" || { cat "$work/sweep" >&2; exit 1; }
missed=$(sed -n 's/.*"missed":\([0-9]*\).*/\1/p' "$work/sweep")
note_peak "a sweep in $sweep_time s"

read -r bare bare99 < <(times /healthz)
read -r expiring expiring99 < <(times '/v1/expiring?within=180d')
read -r weeks weeks99 < <(times '/v1/expiring/weeks?within=365d')
read -r secrets secrets99 < <(times '/v1/secrets')
note_peak 'lists'

row() { # what, goal, measured, unit, whether it must be at least (1) or at most (0) the goal
    awk -v what="$1" -v goal="$2" -v got="$3" -v unit="$4" -v least="$5" 'BEGIN {
        ok = least ? got + 0 >= goal + 0 : got + 0 <= goal + 0
        printf "| %s | %s %s %s | %s %s | %.2f | %s |\n", what, least ? "≥" : "≤", goal, unit, got, unit, got / goal, ok ? "yes" : "NO" }'
}
inside() { awk -v a="$1" -v b="$bare" 'BEGIN { d = a - b; printf "%.2f", (d > 0 ? d : 0) }'; }
cat <<TABLE
| $count stored certificates, SQLite | goal | measured | measured ÷ goal | reached |
|---|---|---|---|---|
$(row 'bulk import over the API, every line checked' 5000 "$rate" rows/s 1)
$(row 'process start to the first /readyz, after a clean stop' 1 "$start_clean" s 0)
$(row 'the same after SIGKILL' 1 "$start_killed" s 0)
$(row 'sweep over everything stored' 30 "$sweep_time" s 0)
$(row 'what expires within 180 days, first page, in the server' 5 "$(inside "$expiring")" ms 0)
$(row 'counts by region and week, in the server' 5 "$(inside "$weeks")" ms 0)
$(row 'resident memory, the most of all the above' 256 "$peak" MiB 0)

In the server = median of 201 requests over one connection, less that of /healthz. At the client, median and 99th percentile in ms:
/healthz $bare and $bare99, what expires $expiring and $expiring99, weeks $weeks and $weeks99, the first page of secrets $secrets and $secrets99.
All secrets were assessed $assessing s after the import began (the loop worked $busy s for it) and $told messages went out; the sweep found
$missed things that the schedule had missed. The data folder has $size MB.
TABLE
