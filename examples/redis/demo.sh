#!/bin/sh
# Shows a rolling restart of a real redis cluster on this machine: starts four servers, their agents and a control plane,
# writes some data, runs the playbook, counts the data again, and stops everything. The exit code is that of the run.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
BIN=${BIN:-$here/../../bin}
for program in redis-server redis-cli "$BIN/replicore" "$BIN/repliagent" "$BIN/replictl"; do
  command -v "$program" >/dev/null || { echo "$program is missing: see README.md" >&2; exit 1; }
done

DIR=$(mktemp -d)
export BIN DIR RCTL_SERVER=http://127.0.0.1:7100 RCTL_CLUSTER=redis
plane=
finish() {
  "$here/stop.sh"
  [ -z "$plane" ] || kill "$plane" 2>/dev/null || true
  wait
  rm -rf "$DIR"
}
trap finish EXIT
trap 'exit 130' INT TERM

echo "Starting a control plane, four redis servers and their agents…"
"$BIN/replicore" dev --agents 0 --listen 127.0.0.1:7100 --etcd-listen 127.0.0.1:7120 >"$DIR/plane.log" 2>&1 &
plane=$!
"$here/setup.sh"
"$here/start.sh"
tries=600
until "$BIN/replictl" node list -o json 2>/dev/null | grep -c '"redis-' | grep -q 4; do
  tries=$((tries - 1))
  if [ "$tries" = 0 ] || ! kill -0 "$plane" 2>/dev/null; then
    echo "The cluster did not start:" >&2
    cat "$DIR/plane.log" "$DIR"/redis-*/agent.log >&2
    exit 1
  fi
  sleep 0.1
done

show() {
  echo
  echo "\$ $*"
  (PATH=$BIN:$PATH && "$@")
}
keys=0
while [ "$keys" -lt 1000 ]; do
  echo "SET key:$keys value-$keys"
  keys=$((keys + 1))
done | redis-cli -p 7101 >"$DIR/written"
show redis-cli -p 7101 DBSIZE
show replictl node list
show replictl apply -f "$here/rolling-restart.yaml"
code=0
show replictl run start redis-rolling-restart --yes --wait || code=$?
show replictl node list
show redis-cli -p 7101 DBSIZE
echo
echo "What was done to the servers:"
(cd "$DIR" && grep . redis-*/history)
exit "$code"
