# Functions of the other scripts for one server. $1 is its directory, as created by setup.sh.

server=$1
conf=$server/postgresql.conf
data=$server/data
port=$(sed -n 's/^port = //p' "$conf")
name=$(basename "$server")
PATH=$(ls -dv /usr/lib/postgresql/*/bin 2>/dev/null | tail -n 1):$PATH # Debian has only some of the programs on PATH
export PGCONNECT_TIMEOUT=5 PGUSER=postgres PGDATABASE=postgres

# as_postgres runs a command as the user who owns the data: no server runs as root.
as_postgres() { if [ "$(id -u)" = 0 ]; then runuser -u postgres -- "$@"; else "$@"; fi; }

# sql runs a statement on this server.
sql() { psql -XAtq -h 127.0.0.1 -p "$port" -v ON_ERROR_STOP=1 -c "$1"; }
is() { [ "$(sql "SELECT $1" 2>/dev/null)" = t ]; }

fail() { echo "$*" >&2; exit 1; }

# note EVENT writes a line to the history of the server, with the id of the action, or "manual" outside of an action.
note() { echo "$(date -u +%Y-%m-%dT%H:%M:%SZ) $1 ${REPLICANTE_ACTION_ID:-manual}" >>"$server/history"; }

# until_true SECONDS COMMAND… repeats the command until it succeeds, and fails after the time.
until_true() {
  deadline=$(($(date +%s) + $1)); shift
  while ! "$@" >/dev/null 2>&1; do
    [ "$(date +%s)" -lt "$deadline" ] || return 1
    sleep 0.1
  done
}

running() { as_postgres pg_ctl status --pgdata "$data" >/dev/null 2>&1; }
answers() { sql 'SELECT 1' >/dev/null 2>&1; }

# streams succeeds if this server is a replica, and receives what the primary writes.
streams() { is "EXISTS (SELECT 1 FROM pg_stat_wal_receiver WHERE status = 'streaming')"; }

# stop_server and start_server do what "systemctl stop" and "systemctl start" do. A primary that is stopped so, "fast", first sends
# all it has written to the replicas that are connected.
stop_server() {
  ! running || as_postgres pg_ctl stop --pgdata "$data" --mode fast --timeout 60 >/dev/null || fail "$name does not stop; see $server/postgresql.log"
}
start_server() {
  note start
  timeout 30 sh -c 'echo start >"$1"' sh "$server/requests" || fail "the service manager does not answer; see start.sh"
  until_true 60 answers || fail "$name does not answer on port $port; see $server/postgresql.log"
}

# connect_to HOST PORT writes which server this one is a replica of, where pg_rewind and pg_basebackup do not touch it.
connect_to() {
  echo "primary_conninfo = 'host=$1 port=$2 user=postgres application_name=$name'" >"$server/conf.d/primary.conf"
}
