#!/usr/bin/env bash
# Shows one run of a playbook on this machine: starts everything in one process, applies an example, runs it, and stops
# everything. The exit code is that of the run.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${BIN:-bin}

log=$(mktemp)
"$bin/replicore" dev --agents 5 --listen 127.0.0.1:0 >"$log" 2>&1 &
pid=$!
finish() {
  kill "$pid" 2>/dev/null || true
  wait "$pid" 2>/dev/null || true
  rm -f "$log"
}
trap finish EXIT
trap 'exit 130' INT TERM

echo "Starting an etcd, a control plane, a store and five agents, all in one process…"
for ((i = 0; ; i++)); do
  if url=$(sed -n 's/^replicore dev is ready at //p' "$log") && [[ -n $url ]]; then break; fi
  if ! kill -0 "$pid" 2>/dev/null || ((i == 1200)); then
    echo "replicore dev did not start:" >&2
    cat "$log" >&2
    exit 1
  fi
  sleep 0.1
done
export RCTL_SERVER=$url RCTL_CLUSTER=demo

show() {
  echo
  echo "\$ replictl $*"
  "$bin/replictl" "$@"
}
show node list
show apply -f examples/rolling-restart.yaml
code=0
show run start rolling-restart --yes --wait || code=$?
show run list

cat <<NEXT

The demo is over, and replicore dev stops now. To continue by hand:

  $bin/replicore dev --agents 5                                   # in one terminal
  $bin/replictl apply -f examples/failing-node.yaml               # in another
  $bin/replictl run start failing-node --cluster demo --wait      # one node fails: exit code 3
  $bin/replictl run nodes last                                    # shows why
  $bin/replictl run start rolling-restart --cluster demo -p ticks=20 --wait
                                                                  # kill replicore dev --data DIR during this, and start it again
NEXT
exit "$code"
