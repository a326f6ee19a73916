#!/usr/bin/env bash
# The issuing benchmark: what a certificate costs in CPU before it is stored, beside the floor of one verified request and one signature,
# `openssl ca` (one process, many requests) and cfssl (one server, many requests), all for ECDSA P-256 and from the same requests.
#
#   bench/issue.sh [CERTIFICATES] [ROUNDS]      (5000 and 9 unless told otherwise; openssl and cfssl are measured where they are installed)
set -euo pipefail
export LC_ALL=C
count=${1:-5000} rounds=${2:-9}
here=$(cd "$(dirname "$0")/.." && pwd)
target=${CARGO_TARGET_DIR:-$here/target}/release
if [ -z "${SKIP_BUILD:-}" ]; then
    (cd "$here" && cargo build --release -p pki --example issue)
fi

work=$(mktemp -d)
server=''
finish() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT
pin=()
if command -v taskset >/dev/null; then
    pin=(taskset -c "$(($(nproc) - 1))")
fi

# Requests, and the authority that the others issue from too.
mkdir "$work/requests"
"${pin[@]}" "$target/examples/issue" "$count" "$rounds" "$work/requests" | tee "$work/ours"
ours=$(awk -F'|' '/with rehearsal and lint/ { print $3 + 0; exit }' "$work/ours")
row() { awk -v what="$1" -v us="$2" -v ours="$ours" 'BEGIN { printf "| %s | %.1f | ours with lint: %.3f of it | – | – |\n", what, us, ours / us }'; }

# openssl keeps a list of all that it issued and compares names, so it is given as many as there are different requests.
requests=("$work"/requests/*.csr)
if command -v openssl >/dev/null; then
    mkdir "$work/issued"
    : >"$work/index.txt"
    cat >"$work/ca.cnf" <<CNF
[ca]
default_ca = bench
[bench]
database = $work/index.txt
new_certs_dir = $work/issued
certificate = $work/requests/ca.pem
private_key = $work/requests/ca-key.pem
default_md = sha256
default_days = 90
rand_serial = yes
unique_subject = no
policy = any
copy_extensions = copy
x509_extensions = leaf
[any]
commonName = optional
[leaf]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
CNF
    TIMEFORMAT='%U %S'
    spent=$({ time "${pin[@]}" openssl ca -batch -config "$work/ca.cnf" -notext -out /dev/null -subj / -infiles "${requests[@]}" >"$work/openssl.log" 2>&1; } 2>&1) || {
        tail -n 3 "$work/openssl.log" >&2
        exit 1
    }
    issued=$(find "$work/issued" -type f | wc -l)
    [ "$issued" -eq "${#requests[@]}" ] || { echo "openssl ca: $issued of ${#requests[@]}" >&2; exit 1; }
    row "openssl ca, one process for $issued, each written to a file" "$(awk -v n="$issued" '{ print ($1 + $2) * 1000000 / n }' <<<"$spent")"
else
    echo "openssl ca: NOT MEASURED, openssl is not installed"
fi

if command -v cfssl >/dev/null && command -v curl >/dev/null; then
    cat >"$work/cfssl.json" <<JSON
{ "signing": { "default": { "expiry": "2160h", "usages": ["digital signature", "server auth"] } } }
JSON
    for ((index = 0; index < count; index++)); do
        request="$work/requests/$((index % ${#requests[@]})).csr"
        if [ ! -f "$request.json" ]; then
            awk 'BEGIN { printf "{\"certificate_request\":\"" } { printf "%s\\n", $0 } END { print "\"}" }' "$request" >"$request.json"
        fi
        [ "$index" -eq 0 ] || echo next
        printf 'url = "http://127.0.0.1:PORT/api/v1/cfssl/sign"\ndata = "@%s"\noutput = "%s"\nsilent\n' "$request.json" "$work/answer"
    done >"$work/curl.conf"
    for port in $(seq 18888 18938); do
        "${pin[@]}" cfssl serve -address 127.0.0.1 -port "$port" -ca "$work/requests/ca.pem" -ca-key "$work/requests/ca-key.pem" \
            -config "$work/cfssl.json" -loglevel 4 >"$work/cfssl.log" 2>&1 &
        server=$!
        for _ in $(seq 50); do
            if curl -s -o /dev/null "http://127.0.0.1:$port/" && kill -0 "$server" 2>/dev/null; then break 2; fi
            kill -0 "$server" 2>/dev/null || break
            sleep 0.1
        done
        kill "$server" 2>/dev/null || true
    done
    sed -i "s/PORT/$port/" "$work/curl.conf"
    cpu_of() { awk -v hz="$(getconf CLK_TCK)" '{ sub(/.*\) /, ""); print ($12 + $13) * 1000000 / hz }' "/proc/$1/stat"; }
    before=$(cpu_of "$server")
    curl --config "$work/curl.conf"
    after=$(cpu_of "$server")
    grep -q '"success":true' "$work/answer" || { cat "$work/answer" >&2; exit 1; }
    row "cfssl serve, over HTTP, without its database" "$(awk -v a="$after" -v b="$before" -v n="$count" 'BEGIN { print (a - b) / n }')"
else
    echo "cfssl: NOT MEASURED, cfssl or curl is not installed"
fi
