#!/usr/bin/env bash
# Very many agents on one server, over real TLS with a client certificate each: what one costs in memory, how soon all of them hear of a
# new version, and how they come back after the server was restarted. Server and agents are two processes, so that the server's memory is
# measured alone.
#
#   bench/agents.sh [AGENTS]            10,000 where nothing is said
#   PERENNIAL_DATABASE=postgres://…     on that database instead of SQLite
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
count=${1:-10000}
profile=${PERENNIAL_BENCH_PROFILE:-release}
flag=$([[ $profile == release ]] && echo --release || true)
# Two descriptors for each agent would be one process's; here each process has its own.
ulimit -n "$(ulimit -Hn)"
if (( $(ulimit -n) < count + 512 )); then
    echo "bench/agents.sh: $count agents need $((count + 512)) descriptors, and $(ulimit -n) are allowed; raise ulimit -Hn" >&2
    exit 1
fi
# shellcheck disable=SC2086
cargo build --quiet $flag -p server --example door
# shellcheck disable=SC2086
cargo build --quiet $flag -p agent --example many
bin="${CARGO_TARGET_DIR:-target}/$([[ $profile == release ]] && echo release || echo debug)/examples"
work=$(mktemp -d "${TMPDIR:-/tmp}/perennial-agents.XXXXXX")
door_pid='' many_pid=''
finish() {
    [[ -n $many_pid ]] && kill "$many_pid" 2>/dev/null
    [[ -n $door_pid ]] && kill "$door_pid" 2>/dev/null
    rm -rf "$work"
}
trap finish EXIT
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')

start_door() {
    mkfifo "$work/door.$1.in" "$work/door.$1.out"
    "$bin/door" "$work/data" "127.0.0.1:$port" "$count" "${@:2}" <"$work/door.$1.in" >"$work/door.$1.out" 2>>"$work/log" &
    door_pid=$!
    exec 3>"$work/door.$1.in" 4<"$work/door.$1.out"
    read -r line <&4
    [[ $line == ready ]]
}
ask() { echo "$1" >&3; read -r answer <&4; }

start_door 1 "$work/strings"
ask rss
empty=${answer#rss }
mkfifo "$work/many.in" "$work/many.out"
"$bin/many" "$work/strings" <"$work/many.in" >"$work/many.out" 2>>"$work/log" &
many_pid=$!
exec 5>"$work/many.in" 6<"$work/many.out"
read -r joined <&6
echo "$joined s"
read -r waiting <&6
echo "$waiting"
sleep 5
ask rss
full=${answer#rss }
awk -v e="$empty" -v f="$full" -v n="$count" 'BEGIN { printf "server: %d KiB without agents, %d KiB with %d: %.1f KiB per agent\n", e, f, n, (f - e) / n }'
for round in 1 2 3; do
    echo go >&5
    # What is measured begins before the decision is committed.
    sleep 0.2
    ask desire
    echo "round $round: $answer ms for the decision"
    read -r heard <&6
    echo "round $round: $heard (ms, the decision and 200 ms included)"
    sleep 2
done
ask rss
after=${answer#rss }
awk -v e="$empty" -v f="$after" -v n="$count" 'BEGIN { printf "server: %d KiB after three rounds: %.1f KiB per agent\n", f, (f - e) / n }'
echo away >&5
sleep 0.2
echo stop >&3
wait "$door_pid" || true
exec 3>&- 4<&-
start_door 2
began=$(date +%s.%N)
read -r back <&6
awk -v b="$began" -v n="$(date +%s.%N)" 'BEGIN { printf "after a restart everybody was back %.1f s after the door was open again\n", n - b }'
echo "$back (ms since the server was told to stop; failed: requests that were refused after the return)"
ask rss
echo "server: ${answer#rss } KiB after the return"
grep -c . "$work/log" >/dev/null && { echo "--- log (last lines)"; tail -5 "$work/log"; } || true
echo stop >&3
