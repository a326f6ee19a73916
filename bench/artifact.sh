#!/usr/bin/env bash
# The artifact benchmark: `perennial release scan --offline` beside what people do by hand, find, grep and openssl, over the same image of
# many files, in the same run. The image is made from a fixed key, so it is the same everywhere. CPU is that of one core.
#
#   bench/artifact.sh [MIB] [FILES] [ROUNDS]      (2048, 20000 and 3 unless told otherwise; needs openssl, tar, taskset, GNU coreutils)
set -euo pipefail
export LC_ALL=C
mib=${1:-2048} files=${2:-20000} rounds=${3:-3}
here=$(cd "$(dirname "$0")/.." && pwd)
target=${CARGO_TARGET_DIR:-$here/target}/release
for tool in openssl tar taskset split awk; do
    command -v "$tool" >/dev/null || { echo "bench/artifact.sh needs $tool" >&2; exit 2; }
done
if [ -z "${SKIP_BUILD:-}" ]; then
    (cd "$here" && cargo build --release -p perennial)
fi
scan=${SCAN:-$target/perennial}
work=$(mktemp -d "${TMPDIR:-/tmp}/perennial-artifact.XXXXXX")
trap 'rm -rf "$work"' EXIT

# Half of the files are like programs, half like texts; every thousandth bears a certificate in PEM.
mkdir -p "$work/image/bin" "$work/image/text"
# Writers that are cut off when there is enough end with SIGPIPE, which is meant.
set +o pipefail
half=$((files / 2)) bytes=$((mib * 1024 * 1024))
each=$((bytes / files))
stream() { openssl enc -aes-128-ctr -K 00112233445566778899aabbccddeeff -iv "$1" -in /dev/zero 2>/dev/null; }
(cd "$work/image/bin" && stream 00000000000000000000000000000000 | head -c $((each * half)) | split -a 5 -d -b "$each")
(cd "$work/image/text" && stream 10000000000000000000000000000000 | base64 | tr '+/' '  ' | head -c $((each * half)) | split -a 5 -d -b "$each")
set -o pipefail
openssl req -x509 -newkey rsa:2048 -nodes -keyout /dev/null -out "$work/cert.pem" -days 3650 -subj /CN=bench.example 2>/dev/null
planted=0
for file in "$work"/image/*/x??000; do
    { echo; cat "$work/cert.pem"; } >>"$file"
    planted=$((planted + 1))
done
tar -C "$work/image" --sort=name --mtime=@0 --owner=0 --group=0 -cf "$work/image.tar" .
gzip -1 -c "$work/image.tar" >"$work/image.tar.gz"
real=$(stat -c %s "$work/image.tar")

core=$(($(nproc) > 1 ? 1 : 0))
# Seconds of CPU of a command and all that it starts, on one core.
cpu() {
    local TIMEFORMAT='%U %S'
    { time taskset -c "$core" "$@" >"$work/out" 2>"$work/err" || true; } 2>&1 | awk '{ print $1 + $2 }'
}
expect() {
    [ "$2" -eq "$planted" ] || { echo "$1 found $2 of $planted certificates" >&2; cat "$work/err" >&2; exit 1; }
}
# shellcheck disable=SC2016 # its own shell expands it
by_hand='find "$1" -type f -print0 | xargs -0 grep -laF -e "-----BEGIN CERTIFICATE-----" | while read -r file; do
    sed -n "/-----BEGIN CERTIFICATE-----/,/-----END CERTIFICATE-----/p" "$file" | openssl x509 -noout -subject -enddate -fingerprint -sha256; done'
cat "$work/image.tar" "$work/image.tar.gz" "$work"/image/*/* >/dev/null # all in memory, for everybody
for round in $(seq "$rounds"); do
    hand=$(cpu bash -c "$by_hand" _ "$work/image")
    expect 'find | grep | openssl' "$(grep -ci '^sha256 fingerprint' "$work/out")"
    folder=$(cpu "$scan" release scan --offline --json "$work/image")
    expect folder "$(grep -c '"kind":"certificate"' "$work/out")"
    tar=$(cpu "$scan" release scan --offline --json "$work/image.tar")
    expect tar "$(grep -c '"kind":"certificate"' "$work/out")"
    gz=$(cpu "$scan" release scan --offline --json "$work/image.tar.gz")
    expect tar.gz "$(grep -c '"kind":"certificate"' "$work/out")"
    gunzip=$(cpu gzip -dc "$work/image.tar.gz")
    echo "$round $hand $folder $tar $gz $gunzip" | tee -a "$work/rows" >&2
done
# Peak memory, of the largest of these.
"$scan" release scan --offline --json "$work/image.tar.gz" >/dev/null 2>&1 &
pid=$! peak=0
while kill -0 "$pid" 2>/dev/null; do
    now=$(awk '/^VmHWM/ { print $2 }' "/proc/$pid/status" 2>/dev/null || true)
    peak=${now:-$peak}
    sleep 0.05
done
wait "$pid" || true

median() { awk -v c="$1" '{ print $c }' "$work/rows" | sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
row() { # name, column, goal in MiB/s
    awk -v name="$1" -v s="$(median "$2")" -v hand="$(median 2)" -v bytes="$real" -v goal="$3" 'BEGIN {
        rate = bytes / 1048576 / s
        printf "| %s | %.2f | %.0f | %.2f of by hand | %s | %s |\n", name, s, rate, s / hand, goal ? "≥ " goal " MiB/s" : "–", goal ? (rate >= goal ? "yes" : "NO") : "–"
    }'
}
echo "| artifact of $((real / 1048576)) MiB, $files files, $planted certificates; median of $rounds rounds | CPU s | MiB/s per core | ratio | goal | reached |"
echo "|---|---|---|---|---|---|"
row 'find, grep, openssl over the unpacked files' 2 ''
row 'release scan of the folder' 3 300
row 'release scan of the tar' 4 300
row 'release scan of the tar.gz' 5 ''
row 'gzip -dc alone' 6 ''
echo "| memory, tar.gz | | | peak $((peak / 1024)) MB | – | – |"
