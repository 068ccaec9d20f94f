#!/bin/sh
# Starts the servers in the directory $DIR, and the agent of each. What runs already stays as it is.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
DIR=${DIR:?the directory that setup.sh made}
BIN=${BIN:-$here/../../bin}

for directory in "$DIR"/redis-*; do
  (
    set -- "$directory"
    . "$here/lib.sh"
    there 2>/dev/null || start_server
    until_true 30 linked || fail "the replication link does not come up: see $server/redis.log"
  )
  if [ ! -e "/proc/$(cat "$directory/agent.pid" 2>/dev/null)/exe" ]; then
    "$BIN/repliagent" --config "$directory/agent.yaml" >>"$directory/agent.log" 2>&1 </dev/null &
    echo $! >"$directory/agent.pid"
  fi
done
