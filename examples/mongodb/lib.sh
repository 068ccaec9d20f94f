# Functions of the other scripts for one member. $1 is its directory, as created by setup.sh.

server=$1
data=$server/data
name=$(basename "$server")
port=$(cat "$server/port")
uri="mongodb://127.0.0.1:$port/?directConnection=true&serverSelectionTimeoutMS=5000"

# js runs JavaScript on this member.
js() { mongosh --quiet --norc "$uri" --eval "$1"; }

fail() { echo "$*" >&2; exit 1; }

# note EVENT writes a line to the history of the member, with the id of the action, or "manual" outside of an action.
note() { echo "$(date -u +%Y-%m-%dT%H:%M:%SZ) $1 ${REPLICANTE_ACTION_ID:-manual}" >>"$server/history"; }

# until_true SECONDS COMMAND… repeats the command until it succeeds, and fails after the time.
until_true() {
  deadline=$(($(date +%s) + $1)); shift
  while ! "$@" >/dev/null 2>&1; do
    [ "$(date +%s)" -lt "$deadline" ] || return 1
    sleep 0.2
  done
}

# running succeeds while there is a process of the member.
running() { [ -e "/proc/$(cat "$server/mongod.pid" 2>/dev/null || echo none)/exe" ]; }

# stop_server and start_server do what "systemctl stop" and "systemctl start" do.
stop_server() {
  gone() { ! running; }
  ! running || js 'db.adminCommand({shutdown: 1})' >/dev/null 2>&1 || true
  until_true 60 gone || fail "mongod of $server does not stop; see $server/mongod.log"
}
start_server() {
  note start
  timeout 30 sh -c 'echo start >"$1"' sh "$server/requests" || fail "the service manager does not answer; see start.sh"
  until_true 90 js 'db.adminCommand({ping: 1})' || fail "$name does not answer on port $port; see $server/mongod.log"
}
