#!/bin/sh
# Starts the members in the directory $DIR, with a stand-in for their service manager, and the agent of each. Those that are running are
# not restarted.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
DIR=${DIR:?set it to the directory that setup.sh created}
BIN=${BIN:-$here/../../bin}

for directory in "$DIR"/etcd-*; do
  if [ ! -e "/proc/$(cat "$directory/manager.pid" 2>/dev/null)/exe" ]; then
    setsid "$here/service-manager" "$directory" </dev/null >/dev/null 2>&1 &
  fi
done
starting=
for directory in "$DIR"/etcd-*; do # at once: a member is healthy only once others are there
  (
    set -- "$directory"
    . "$here/lib.sh"
    running || start_server
  ) &
  starting="$starting $!"
done
wait $starting
for directory in "$DIR"/etcd-*; do
  (
    set -- "$directory"
    . "$here/lib.sh"
    until_true 30 healthy || fail "$name is not healthy; see $server/etcd.log"
  )
done
for directory in "$DIR"/etcd-*; do
  if [ ! -e "/proc/$(cat "$directory/agent.pid" 2>/dev/null)/exe" ]; then
    "$BIN/repliagent" --config "$directory/agent.yaml" >>"$directory/agent.log" 2>&1 </dev/null &
    echo $! >"$directory/agent.pid"
  fi
done
