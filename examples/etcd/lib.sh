# Functions of the other scripts for one member. $1 is its directory, as created by setup.sh.

server=$1
conf=$server/etcd.yaml
value() { sed -n "s/^$1: //p" "$conf"; }
name=$(value name)
url=$(value advertise-client-urls)
export ETCDCTL_API=3

# ctl sends a command to this member; ctl_at ENDPOINTS sends it to others.
ctl() { etcdctl --endpoints "$url" --command-timeout 5s "$@"; }
ctl_at() { at=$1; shift; etcdctl --endpoints "$at" --command-timeout 5s "$@"; }

fail() { echo "$*" >&2; exit 1; }

# note EVENT writes a line to the history of the member, with the id of the action, or "manual" outside of an action.
note() { echo "$(date -u +%Y-%m-%dT%H:%M:%SZ) $1 ${REPLICANTE_ACTION_ID:-manual}" >>"$server/history"; }

# until_true SECONDS COMMAND… repeats the command until it succeeds, and fails after the time.
until_true() {
  tries=$(($1 * 10)); shift
  while ! "$@" >/dev/null 2>&1; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || return 1
    sleep 0.1
  done
}

# healthy succeeds if the member reads through the quorum.
healthy() { curl --silent --max-time 2 "$url/health" | grep -q '"health": *"true"'; }

# leads succeeds if the member is the leader. Columns of the status: endpoint, id, version, size, leader, …
leads() { ctl endpoint status | awk -F ', ' '$5 == "true" { found = 1 } END { exit !found }'; }

# running succeeds while there is a process of the member.
running() { [ -e "/proc/$(cat "$server/etcd.pid" 2>/dev/null || echo none)/exe" ]; }

# stop_server and start_server do what "systemctl stop" and "systemctl start" do.
stop_server() {
  gone() { ! running; }
  kill "$(cat "$server/etcd.pid" 2>/dev/null || echo none)" 2>/dev/null || true
  until_true 30 gone || fail "etcd of $server does not stop"
}
start_server() {
  note start
  timeout 30 sh -c 'echo start >"$1"' sh "$server/requests" || fail "the service manager does not answer; see start.sh"
  until_true 30 healthy || fail "$name is not healthy at $url; see $server/etcd.log"
}
