#!/usr/bin/env bash
# Certificates per second of an internal CA, durable with journal, under waiting callers; beside cfssl with its SQLite certificate
# database, on the same machine in one run. cfssl is measured twice: with the journal mode that its documentation leaves SQLite in (delete:
# a rollback journal), and with a write-ahead log, which is what the store uses. The driver leaves synchronous at FULL in both; the store
# commits in the same way.
#
#     bench/issuing.sh [CALLERS] [SECONDS]
set -euo pipefail
callers=${1:-64}
seconds=${2:-10}
cd "$(dirname "$0")/.."
work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$work"' EXIT

cargo build --release -q -p engine --example issuing
run=${CARGO_TARGET_DIR:-target}/release/examples/issuing
own=$("$run" own "$work/store.db" "$callers" "$seconds")
echo "$own"

if ! command -v cfssl > /dev/null || ! command -v cfssljson > /dev/null || ! command -v sqlite3 > /dev/null; then
    echo "SKIPPED: cfssl, cfssljson or sqlite3 is missing (apt: golang-cfssl sqlite3)"
    exit 0
fi
cd "$work"
cat > csr.json << 'END'
{ "CN": "bench CA", "key": { "algo": "ecdsa", "size": 256 } }
END
cat > config.json << 'END'
{ "signing": { "default": { "usages": ["digital signature", "server auth"], "expiry": "2160h" } } }
END
cfssl gencert -initca csr.json 2> /dev/null | cfssljson -bare ca
rate() { sed 's/.*: \([0-9]*\)\/s under.*/\1/' <<< "$1"; }
for mode in delete wal; do
    # The schema of cfssl's certdb/sqlite/migrations.
    sqlite3 "certs-$mode.db" << 'END'
CREATE TABLE certificates (
  serial_number blob NOT NULL, authority_key_identifier blob NOT NULL, ca_label blob, status blob NOT NULL, reason int,
  expiry timestamp, revoked_at timestamp, pem blob NOT NULL, PRIMARY KEY(serial_number, authority_key_identifier));
CREATE TABLE ocsp_responses (
  serial_number blob NOT NULL, authority_key_identifier blob NOT NULL, body blob NOT NULL, expiry timestamp,
  PRIMARY KEY(serial_number, authority_key_identifier));
END
    sqlite3 "certs-$mode.db" "PRAGMA journal_mode = $mode" > /dev/null
    echo "{ \"driver\": \"sqlite3\", \"data_source\": \"$work/certs-$mode.db?_busy_timeout=60000\" }" > db.json
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    cfssl serve -address 127.0.0.1 -port "$port" -ca ca.pem -ca-key ca-key.pem -config config.json -db-config db.json -loglevel 3 > cfssl.log 2>&1 &
    server=$!
    n=0
    until (exec 3<> "/dev/tcp/127.0.0.1/$port") 2> /dev/null || [ $n -ge 100 ]; do n=$((n + 1)); sleep 0.1; done
    theirs=$("$run" cfssl "127.0.0.1:$port" "$callers" "$seconds") || { tail -3 cfssl.log; exit 1; }
    kill "$server"
    wait "$server" 2> /dev/null || true
    server=
    echo "$theirs, journal_mode $mode"
    awk -v own="$(rate "$own")" -v theirs="$(rate "$theirs")" -v mode="$mode" \
        'BEGIN { printf "own / cfssl with journal_mode %s: %.2f\n", mode, own / theirs }'
done
