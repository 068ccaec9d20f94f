# Runs on the machine and writes what it found to /root/result; lines with # are for people.
exec >/root/result 2>/root/errors
export RCTL_SERVER=http://127.0.0.1:16016

wait_for() { for _ in $(seq 300); do "$@" >/dev/null 2>&1 && return; sleep 0.2; done; echo "# not within 60s: $*"; }
main_pid() { systemctl show -p MainPID --value "$1"; }
start() { replictl run start "$1" --cluster redis --yes -o json | sed -n 's/^  "id": "\(.*\)",$/\1/p'; }
state() { replictl run get "$1" -o json | sed -n 's/^  "state": "\(.*\)",$/\1/p'; }
ended() { case $(state "$1") in DONE | FAILED | CANCELLED) ;; *) false ;; esac; }
outcome() { wait_for ended "$1"; state "$1"; }
starts() { grep -c start /srv/starts; }

systemd-sysusers
systemd-tmpfiles --create >/dev/null
peer=http://127.0.0.1:2380 client=http://127.0.0.1:2379
systemd-run -q --unit etcd /root/etcd --name e --data-dir /root/etcd.data --listen-peer-urls $peer --initial-advertise-peer-urls $peer \
  --initial-cluster e=$peer --listen-client-urls $client --advertise-client-urls $client
wait_for systemctl is-active etcd
systemctl start redis-server replicore repliagent
echo units=$(systemctl is-active redis-server replicore repliagent)
for action in restart payload slow escape; do
  printf 'apiVersion: replicante.io/v1\nkind: Playbook\nmetadata: {name: %s}\nspec: {stages: [{name: s, steps: [{name: s, action: external.agent.replicante.io/%s}]}]}\n' \
    $action $action >/root/$action.yaml
  wait_for replictl apply -f /root/$action.yaml
done
healthy() { replictl node list --cluster redis | grep -q HEALTHY; }
wait_for healthy

before=$(main_pid redis-server)
echo restarted=$(outcome "$(start restart)")
[ "$(main_pid redis-server)" != "$before" ] && wait_for redis-cli ping && echo redis_was_restarted=yes

run=$(start payload)
echo payload=$(outcome "$run")
echo payload_user=$(replictl run nodes "$run" -o json | grep -m 1 '"user"' | tr -d ' ')

run=$(start slow)
wait_for starts
systemctl kill -s KILL --kill-who=main replicore
echo killed=$(outcome "$run")
echo killed_starts=$(starts)

run=$(start slow)
two() { [ "$(starts)" = 2 ]; }
wait_for two
systemctl kill -s STOP --kill-who=main replicore # systemd's watchdog ends it
hung=$(main_pid replicore)
replaced() { [ "$(main_pid replicore)" != "$hung" ]; }
wait_for replaced
echo hung=$(outcome "$run")
echo hung_starts=$(starts)

echo escape=$(outcome "$(start escape)")
sleep 6 # what may not happen would have happened by now
[ -e /srv/escaped ] && echo escaped=yes || echo escaped=no

agent=$(main_pid repliagent)
start escape >/dev/null
running() { ls -d /sys/fs/cgroup/system.slice/repliagent.service/replicante-action-*; }
wait_for running
systemctl kill -s KILL --kill-who=main repliagent
back() { systemctl is-active repliagent && [ "$(main_pid repliagent)" != "$agent" ]; }
wait_for back
echo agent_killed=$(systemctl is-active repliagent)
sleep 6
[ -e /srv/escaped ] && echo agent_killed_escaped=yes || echo agent_killed_escaped=no
echo cgroups_left=$(running 2>/dev/null | wc -l)
sed 's/^/# /' /root/errors
journalctl -u replicore -u repliagent --no-pager | tail -n 40 | sed 's/^/# /'
echo complete=yes
systemctl poweroff
