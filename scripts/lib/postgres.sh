# A private PostgreSQL server in a folder of its own, for as long as the caller runs. To be sourced.
#
#   postgres_start   sets POSTGRES_URL; says why and returns 1 when it cannot
#   postgres_stop    stops the server and removes the folder; safe to call at any time
#
# Its own folder, port and socket: a server that already runs on this machine is neither used nor disturbed.

POSTGRES_DIR=""
POSTGRES_URL=""
POSTGRES_BIN=""

# The folder of the newest server programs that are installed.
postgres_find() {
    local dir
    if command -v initdb >/dev/null && command -v pg_ctl >/dev/null; then
        POSTGRES_BIN=$(dirname "$(readlink -f "$(command -v pg_ctl)")")
        return 0
    fi
    # Debian keeps them out of the PATH.
    for dir in $(printf '%s\n' /usr/lib/postgresql/*/bin /usr/pgsql-*/bin | sort -Vr); do
        if [[ -x $dir/initdb && -x $dir/pg_ctl ]]; then
            POSTGRES_BIN=$dir
            return 0
        fi
    done
    return 1
}

# Runs a server program as somebody who is not root: the server refuses root.
postgres_as_user() {
    if [[ $(id -u) -ne 0 ]]; then
        "$@"
    elif command -v setpriv >/dev/null; then
        setpriv --reuid="$POSTGRES_USER" --regid="$(id -g "$POSTGRES_USER")" --clear-groups -- "$@"
    else
        runuser -u "$POSTGRES_USER" -- "$@"
    fi
}

postgres_start() {
    local port try password
    postgres_find || { echo "postgres: initdb and pg_ctl are not installed" >&2; return 1; }
    POSTGRES_USER=$(id -un)
    if [[ $(id -u) -eq 0 ]]; then
        POSTGRES_USER=postgres
        id "$POSTGRES_USER" >/dev/null 2>&1 || POSTGRES_USER=nobody
    fi
    # Short, because the path of a socket may have 107 characters.
    POSTGRES_DIR=$(mktemp -d /tmp/perennial-pg.XXXXXX)
    if [[ $(id -u) -eq 0 ]]; then
        chown "$POSTGRES_USER" "$POSTGRES_DIR"
    fi
    password=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
    (umask 077 && printf '%s\n' "$password" >"$POSTGRES_DIR/password")
    if [[ $(id -u) -eq 0 ]]; then
        chown "$POSTGRES_USER" "$POSTGRES_DIR/password"
    fi
    # LC_ALL=C.UTF-8 on purpose not C alone: text that is stored must be UTF-8, text that is compared says its own collation.
    if ! (cd "$POSTGRES_DIR" && postgres_as_user env LC_ALL=C.UTF-8 "$POSTGRES_BIN/initdb" --pgdata="$POSTGRES_DIR/data" \
        --username=perennial --pwfile="$POSTGRES_DIR/password" --auth=scram-sha-256 --encoding=UTF8 --no-sync) \
        >"$POSTGRES_DIR/initdb.log" 2>&1; then
        cat "$POSTGRES_DIR/initdb.log" >&2
        postgres_stop
        return 1
    fi
    for try in 1 2 3 4 5 6 7 8 9 10; do
        port=$((20000 + (RANDOM * 32768 + RANDOM) % 30000))
        # The data are thrown away, so the server need not wait for the disk; what the tests kill is the client.
        if (cd "$POSTGRES_DIR" && postgres_as_user "$POSTGRES_BIN/pg_ctl" start --pgdata="$POSTGRES_DIR/data" --wait --timeout=60 \
            --silent --log="$POSTGRES_DIR/server.log" \
            --options="-c listen_addresses=127.0.0.1 -c port=$port -c unix_socket_directories='$POSTGRES_DIR' \
                -c max_connections=200 -c fsync=off -c full_page_writes=off -c autovacuum=off") >/dev/null 2>&1; then
            POSTGRES_URL="postgres://perennial:$password@127.0.0.1:$port/postgres?sslmode=disable"
            return 0
        fi
        grep -q "could not bind\|could not create any TCP" "$POSTGRES_DIR/server.log" || break
        : "port $port of try $try was taken; another one is drawn"
    done
    tail -n 20 "$POSTGRES_DIR/server.log" >&2
    postgres_stop
    return 1
}

postgres_stop() {
    [[ -n $POSTGRES_DIR ]] || return 0
    if [[ -f $POSTGRES_DIR/data/postmaster.pid ]]; then
        (cd "$POSTGRES_DIR" && postgres_as_user "$POSTGRES_BIN/pg_ctl" stop --pgdata="$POSTGRES_DIR/data" --mode=immediate --silent) || true
    fi
    rm -rf "$POSTGRES_DIR"
    POSTGRES_DIR=""
}
