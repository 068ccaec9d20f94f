# Functions of the other scripts for one server. $1 is its directory, as created by setup.sh.

server=$1
conf=$server/redis.conf
port=$(sed -n 's/^port //p' "$conf")

# cli sends a command to this server; cli_at HOST PORT sends it to another one.
cli() { redis-cli -h 127.0.0.1 -p "$port" "$@" | tr -d '\r'; }
cli_at() { at_host=$1 at_port=$2; shift 2; redis-cli -h "$at_host" -p "$at_port" "$@" | tr -d '\r'; }

# field NAME prints the value of a line NAME:VALUE of the output of INFO (stdin).
field() { sed -n "s/^$1://p"; }

fail() { echo "$*" >&2; exit 1; }

# note EVENT writes a line to the history of the server, with the id of the action, or "manual" outside of an action.
note() { echo "$(date -u +%Y-%m-%dT%H:%M:%SZ) $1 ${REPLICANTE_ACTION_ID:-manual}" >>"$server/history"; }

# until_true SECONDS COMMAND… repeats the command until it succeeds, and fails after the time.
until_true() {
  tries=$(($1 * 10)); shift
  while ! "$@" 2>/dev/null; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || return 1
    sleep 0.1
  done
}

# listens succeeds if something listens on the port; answers succeeds if the server also serves requests.
listens() { redis-cli -h 127.0.0.1 -p "$port" PING >/dev/null; }
answers() { [ "$(cli PING)" = PONG ]; }

# replicating succeeds if this server is a primary, or a replica whose replication link is up and that has copied all data.
replicating() {
  replication_info=$(cli INFO replication)
  case $(echo "$replication_info" | field role) in
  master) ;;
  slave)
    [ "$(echo "$replication_info" | field master_link_status)" = up ] &&
      [ "$(echo "$replication_info" | field master_sync_in_progress)" = 0 ]
    ;;
  *) false ;;
  esac
}

# start_server has the service manager start the server, as "systemctl start" does.
start_server() {
  note start
  timeout 30 sh -c 'echo start >"$1"' sh "$server/requests" || fail "the service manager does not answer; see start.sh"
  until_true 30 answers || fail "redis-server does not answer on port $port; see $server/redis.log"
}
