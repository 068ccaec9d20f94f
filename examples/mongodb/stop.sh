#!/bin/sh
# Stops the agents and the members in the directory $DIR.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
DIR=${DIR:?set it to the directory that setup.sh created}

agent() { cat "$1/agent.pid" 2>/dev/null || echo none; }
for directory in "$DIR"/mongo-*; do
  kill "$(agent "$directory")" 2>/dev/null || true
done
for directory in "$DIR"/mongo-*; do
  (
    set -- "$directory"
    . "$here/lib.sh"
    gone() { [ ! -e "/proc/$(agent "$server")/exe" ]; }
    until_true 10 gone || fail "the agent of $server does not stop"
    rm -f "$server/agent.pid"
    kill "$(cat "$server/manager.pid" 2>/dev/null)" 2>/dev/null || true
    rm -f "$server/manager.pid"
    stop_server
  )
done
