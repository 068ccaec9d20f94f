#!/bin/sh
# Starts the servers in the directory $DIR, with a stand-in for their service manager, and the agent of each. Those that are running are not restarted.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
DIR=${DIR:?set it to the directory that setup.sh created}
BIN=${BIN:-$here/../../bin}

for directory in "$DIR"/redis-*; do
  (
    set -- "$directory"
    . "$here/lib.sh"
    if [ ! -e "/proc/$(cat "$server/manager.pid" 2>/dev/null)/exe" ]; then
      setsid "$here/service-manager" "$server" </dev/null >/dev/null 2>&1 &
    fi
    listens 2>/dev/null || start_server
    until_true 30 replicating || fail "replication does not start; see $server/redis.log"
  )
  if [ ! -e "/proc/$(cat "$directory/agent.pid" 2>/dev/null)/exe" ]; then
    "$BIN/repliagent" --config "$directory/agent.yaml" >>"$directory/agent.log" 2>&1 </dev/null &
    echo $! >"$directory/agent.pid"
  fi
done
