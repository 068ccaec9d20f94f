# Functions of the other scripts for one server. $1 is its directory, as created by ../redis/setup.sh.

. "$(dirname "$0")/../redis/lib.sh"
change=${REPLICANTE_ARG_CHANGE:-}
before=$conf.before-$change # the configuration before this change

# restart restarts the server. It saves its data before it stops; where it cannot, it keeps running.
restart() {
  gone() { ! listens; }
  answer=$(cli SHUTDOWN SAVE 2>&1) || true
  until_true 30 gone || fail "redis-server on port $port does not stop: $answer"
  start_server
}
