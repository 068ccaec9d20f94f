#!/bin/sh
# Starts the servers in the directory $DIR, with a stand-in for their service manager, and the agent of each. A server without data becomes
# a replica of pg-1. Those that are running are not restarted.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
DIR=${DIR:?set it to the directory that setup.sh created}
BIN=${BIN:-$here/../../bin}

for directory in "$DIR"/pg-*; do
  if [ ! -e "/proc/$(cat "$directory/manager.pid" 2>/dev/null)/exe" ]; then
    setsid "$here/service-manager" "$directory" </dev/null >/dev/null 2>&1 &
  fi
done
primary=127.0.0.1:$(sed -n 's/^port = //p' "$DIR/pg-1/postgresql.conf")
for directory in "$DIR"/pg-*; do
  (
    set -- "$directory"
    . "$here/lib.sh"
    if [ ! -e "$data" ]; then
      REPLICANTE_ARG_PRIMARY=$primary "$here/rejoin" "$directory" >/dev/null 2>"$directory/rejoin.log" || fail "$(cat "$directory/rejoin.log")"
    fi
    running || start_server
  )
done
for directory in "$DIR"/pg-*; do
  if [ ! -e "/proc/$(cat "$directory/agent.pid" 2>/dev/null)/exe" ]; then
    "$BIN/repliagent" --config "$directory/agent.yaml" >>"$directory/agent.log" 2>&1 </dev/null &
    echo $! >"$directory/agent.pid"
  fi
done
