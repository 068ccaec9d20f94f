#!/bin/sh
# Starts the members in the directory $DIR, with a stand-in for their service manager, makes them a replica set if they are none, and starts
# the agent of each. Those that are running are not restarted.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
DIR=${DIR:?set it to the directory that setup.sh created}
BIN=${BIN:-$here/../../bin}

starting= members= id=0
for directory in "$DIR"/mongo-*; do
  if [ ! -e "/proc/$(cat "$directory/manager.pid" 2>/dev/null)/exe" ]; then
    setsid "$here/service-manager" "$directory" </dev/null >/dev/null 2>&1 &
  fi
  (
    set -- "$directory"
    . "$here/lib.sh"
    running || start_server
  ) &
  starting="$starting $!"
  members="$members{_id: $id, host: '127.0.0.1:$(cat "$directory/port")'},"
  id=$((id + 1))
done
for process in $starting; do wait "$process"; done
(
  set -- "$DIR/mongo-1"
  . "$here/lib.sh"
  js "
  try { rs.status() } catch (e) { rs.initiate({_id: 'rs0', members: [$members]}) }
  for (let end = Date.now() + 60000; Date.now() < end; sleep(100)) {
    if (rs.status().members.every(m => m.state === 1 || m.state === 2) && db.hello().primary) quit(0);
  }
  print('the members are no replica set'); quit(1);" >/dev/null
)
for directory in "$DIR"/mongo-*; do
  if [ ! -e "/proc/$(cat "$directory/agent.pid" 2>/dev/null)/exe" ]; then
    "$BIN/repliagent" --config "$directory/agent.yaml" >>"$directory/agent.log" 2>&1 </dev/null &
    echo $! >"$directory/agent.pid"
  fi
done
