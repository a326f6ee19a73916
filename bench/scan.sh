#!/usr/bin/env bash
# The scan benchmark: perennial beside prometheus-blackbox-exporter and beside its own bare handshake, over loopback endpoints that each
# have a certificate of their own. CPU is that of the scanning process alone; the ratios are paired inside one round.
#
#   bench/scan.sh [ENDPOINTS] [ROUNDS]      (20000 and 3 unless told otherwise; needs prometheus-blackbox-exporter, curl, taskset)
set -euo pipefail
export LC_ALL=C
endpoints=${1:-20000} rounds=${2:-3}
here=$(cd "$(dirname "$0")/.." && pwd)
target=${CARGO_TARGET_DIR:-$here/target}/release
held=4000
ulimit -n "$(ulimit -Hn)"

for tool in prometheus-blackbox-exporter curl taskset awk; do
    command -v "$tool" >/dev/null || { echo "bench/scan.sh needs $tool" >&2; exit 2; }
done
if [ -z "${SKIP_BUILD:-}" ]; then
    (cd "$here" && cargo build --release -p perennial && cargo build --release -p probe --examples)
fi
scan=${SCAN:-$target/perennial}

work=$(mktemp -d)
farm='' exporter=''
finish() {
    exec 3>&- || true
    [ -z "$exporter" ] || kill "$exporter" 2>/dev/null || true
    [ -z "$farm" ] || kill "$farm" 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT

# Server on the first core, whoever scans on the second.
cores=$(nproc)
server_core=0 scan_core=$((cores > 1 ? 1 : 0))

mkfifo "$work/alive"
taskset -c "$server_core" "$target/examples/farm" "$endpoints" "$work" <"$work/alive" >"$work/ready" &
farm=$!
exec 3>"$work/alive"
until grep -q ready "$work/ready"; do kill -0 "$farm"; sleep 0.2; done

cat >"$work/blackbox.yml" <<YAML
modules:
  tls:
    prober: tcp
    timeout: 10s
    tcp:
      preferred_ip_protocol: ip4
      tls: true
      tls_config: { ca_file: $work/root.pem }
YAML
# The exporter cannot be given a bound socket: try ports until one is free.
for port in $(seq 19115 19165); do
    taskset -c "$scan_core" prometheus-blackbox-exporter --config.file "$work/blackbox.yml" --web.listen-address "127.0.0.1:$port" \
        --log.level=error >"$work/exporter.log" 2>&1 &
    exporter=$!
    for _ in $(seq 50); do
        if curl -sf "http://127.0.0.1:$port/-/healthy" >/dev/null; then break 2; fi
        kill -0 "$exporter" 2>/dev/null || break
        sleep 0.1
    done
    kill "$exporter" 2>/dev/null || true
done
awk -v port="$port" '{ printf "url = \"http://127.0.0.1:%s/probe?module=tls&target=%s\"\n", port, $1 }' "$work/targets" >"$work/urls"

# Microseconds of CPU of a running process, all threads.
cpu_of() { awk -v hz="$(getconf CLK_TCK)" '{ sub(/.*\) /, ""); print ($12 + $13) * 1000000 / hz }' "/proc/$1/stat"; }
# Runs a command on the scanning core; its CPU in microseconds, and nothing else, is the answer.
cpu() {
    local TIMEFORMAT='%U %S'
    { time taskset -c "$scan_core" "$@" >"$work/out" 2>"$work/err" || true; } 2>&1 | awk '{ print ($1 + $2) * 1000000 }'
}
expect() { # what came out must be what was asked for
    [ "$2" -eq "$3" ] || { echo "$1: $2 of $3 endpoints" >&2; cat "$work/err" >&2 || true; exit 1; }
}
run_scan() { cpu "$scan" scan --json --rate 0 --ca "$work/root.pem" --file "$1"; }

cat "$work/targets" "$work/targets" "$work/targets" >"$work/thrice"
for round in $(seq "$rounds"); do
    before=$(cpu_of "$exporter")
    curl -sZ --parallel-max 32 --config "$work/urls" >"$work/probes" 2>/dev/null || true
    blackbox=$(($(cpu_of "$exporter") - before))
    expect blackbox "$(grep -c '^probe_success 1' "$work/probes")" "$endpoints"
    new=$(run_scan "$work/targets")
    expect scan "$(grep -c '"verified":true' "$work/out")" "$endpoints"
    thrice=$(run_scan "$work/thrice")
    expect 'scan of seen chains' "$(grep -c '"verified":true' "$work/out")" $((endpoints * 3))
    bare=$(cpu bash -c 'exec "$1" <"$2"' _ "$target/examples/bare" "$work/targets")
    expect bare "$(cat "$work/out")" "$endpoints"
    echo "$blackbox $new $thrice $bare" | awk -v n="$endpoints" -v round="$round" '
        { printf "%d %.1f %.1f %.1f %.1f\n", round, $1 / n, $2 / n, ($3 - $2) / (2 * n), $4 / n }' | tee -a "$work/rows" >&2
done

# Memory: the same program holding one and holding many silent connections.
peak() {
    head -n "$1" "$work/silent" >"$work/some"
    taskset -c "$scan_core" "$scan" scan --json --rate 0 --ca "$work/root.pem" --concurrency "$held" --timeout 20 --file "$work/some" >/dev/null 2>&1 &
    local pid=$!
    sleep 8
    # After 8 s every handshake waits for its ServerHello, and the first limit is 12 s away.
    local sockets=$(find "/proc/$pid/fd" -lname 'socket:*' 2>/dev/null | wc -l)
    awk -v sockets="$sockets" '/^VmHWM/ { print $2, sockets }' "/proc/$pid/status"
    kill "$pid"; wait "$pid" 2>/dev/null || true
}
read -r base _ < <(peak 1)
held=$((endpoints < held ? endpoints : held))
read -r full sockets < <(peak "$held")

# Memory: all endpoints three times over, with what is remembered of every chain.
"$scan" scan --json --rate 0 --ca "$work/root.pem" --file "$work/thrice" >/dev/null 2>&1 &
pid=$! whole=0
while kill -0 "$pid" 2>/dev/null; do
    whole=$(awk '/^VmHWM/ { print $2 }' "/proc/$pid/status" 2>/dev/null || true)
    [ -z "$whole" ] || echo "$whole" >"$work/whole"
    sleep 0.1
done
wait "$pid" || true
whole=$(cat "$work/whole")

median() { sort -n | awk '{ v[NR] = $1 } END { printf "%.3f (%.3f–%.3f)", v[int((NR + 1) / 2)], v[1], v[NR] }'; }
column() { awk "{ print $1 }" "$work/rows" | median; }
micro() { awk "{ print $1 }" "$work/rows" | sort -n | awk '{ v[NR] = $1 } END { printf "%.0f", v[int((NR + 1) / 2)] }'; }
# Adds whether each goal was reached: the numbers of the goal against those of the measurement, without what stands in brackets.
judge() {
    awk -F'|' '
        function numbers(text, out,   n) {
            gsub(/\([^)]*\)/, "", text)
            while (match(text, /[0-9]+(\.[0-9]+)?/)) { out[++n] = substr(text, RSTART, RLENGTH); text = substr(text, RSTART + RLENGTH) }
            return n
        }
        NR <= 2 || $5 !~ /≤/ { print $0 (NR == 1 ? " reached |" : NR == 2 ? "---|" : " – |"); next }
        { ok = "yes"; n = numbers($5, goal); numbers($4, got)
          for (i = 1; i <= n; i++) if (got[i] + 0 > goal[i] + 0) ok = "NO"
          print $0 " " ok " |" }'
}
judge <<TABLE
| scan of $endpoints endpoints, median of $rounds rounds (smallest–largest) | CPU µs/endpoint | ratio | goal |
|---|---|---|---|
| blackbox_exporter, verifying | $(micro '$2') | 1 | – |
| perennial scan, every chain new | $(micro '$3') | $(column '$3 / $2') of blackbox_exporter | ≤ 0.36 |
| perennial scan, chains seen before | $(micro '$4') | $(column '$4 / $2') of blackbox_exporter | ≤ 0.28 |
| | | $(column '$4 / $5') of its own bare handshake | ≤ 1.1 |
| its own bare handshake | $(micro '$5') | $(column '$5 / $2') of blackbox_exporter | – |
| memory, $sockets connections waiting for ServerHello | | $(awk "BEGIN { printf \"%.1f kB per connection, base %.1f MB\", ($full - $base) / $held, $base / 1024 }") | ≤ 20 kB, 16 MB |
| memory, $((endpoints * 3)) scans with 256 in flight | | peak $(awk "BEGIN { printf \"%.1f\", $whole / 1024 }") MB | ≤ 21 MB |
TABLE
