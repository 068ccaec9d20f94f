# Read by the other scripts: what they know of one server. $1 is its directory, as setup.sh makes it.

server=$1
conf=$server/redis.conf
port=$(sed -n 's/^port //p' "$conf")

# cli asks this server; cli_at HOST PORT any other.
cli() { redis-cli -h 127.0.0.1 -p "$port" "$@" | tr -d '\r'; }
cli_at() { at_host=$1 at_port=$2; shift 2; redis-cli -h "$at_host" -p "$at_port" "$@" | tr -d '\r'; }

# field NAME: the value of a line NAME:VALUE of what INFO says (stdin).
field() { sed -n "s/^$1://p"; }

fail() { echo "$*" >&2; exit 1; }

# note WORD: one line in the server's history, with the action's ID, or "manual" outside of one.
note() { echo "$(date -u +%Y-%m-%dT%H:%M:%SZ) $1 ${REPLICANTE_ACTION_ID:-manual}" >>"$server/history"; }

# until_true SECONDS COMMAND…: repeats the command until it succeeds; fails when the time is over.
until_true() {
  tries=$(($1 * 10)); shift
  while ! "$@" 2>/dev/null; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || return 1
    sleep 0.1
  done
}

# there: something listens on the port. answers: and it serves.
there() { redis-cli -h 127.0.0.1 -p "$port" PING >/dev/null; }
answers() { [ "$(cli PING)" = PONG ]; }

# linked: this server is a primary, or a replica whose replication link is up with nothing left to copy.
linked() {
  linked_info=$(cli INFO replication)
  case $(echo "$linked_info" | field role) in
  master) ;;
  slave)
    [ "$(echo "$linked_info" | field master_link_status)" = up ] &&
      [ "$(echo "$linked_info" | field master_sync_in_progress)" = 0 ]
    ;;
  *) false ;;
  esac
}

# start_server starts the server as a daemon. It gets nothing of an action's environment: an agent that has crashed ends
# in its next life what carries the ID of the action that was running.
start_server() {
  note start
  env -i PATH="$PATH" redis-server "$conf" --daemonize yes || fail "redis-server does not start: see $server/redis.log"
  until_true 30 answers || fail "redis-server does not answer on port $port: see $server/redis.log"
}
