#!/bin/sh
# Stops the agents and the servers in the directory $DIR.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
DIR=${DIR:?the directory that setup.sh made}

for directory in "$DIR"/redis-*; do
  (
    set -- "$directory"
    . "$here/lib.sh"
    agent=$(cat "$directory/agent.pid" 2>/dev/null) || agent=none
    kill "$agent" 2>/dev/null || true
    cli SHUTDOWN >/dev/null 2>&1 || true
    gone() { [ ! -e "/proc/$agent/exe" ]; }
    until_true 10 gone || fail "the agent (process $agent) does not end"
    rm -f "$directory/agent.pid"
  )
done
