#!/bin/sh
# Creates in the directory $DIR one directory for each of four redis servers, a primary and three replicas, with the
# configuration of the server and of its agent. Directories that exist are not changed.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
DIR=${DIR:?set it to a directory to create, such as DIR=/tmp/redis-demo}
ETCD=${ETCD:-http://127.0.0.1:7120}                  # where the agents register
REDIS_PORTS=${REDIS_PORTS:-7101 7102 7103 7104}      # the first one is that of the primary
AGENT_PORTS=${AGENT_PORTS:-7111 7112 7113 7114}

mkdir -p "$DIR"
DIR=$(cd "$DIR" && pwd)
primary=${REDIS_PORTS%% *}
number=0
for port in $REDIS_PORTS; do
  number=$((number + 1))
  agent_port=$(echo "$AGENT_PORTS" | cut -d ' ' -f "$number")
  server=$DIR/redis-$number
  [ ! -e "$server" ] || continue
  mkdir "$server"
  mkfifo "$server/requests"
  cat >"$server/redis.conf" <<CONF
bind 127.0.0.1
port $port
dir "$server"
logfile "$server/redis.log"
pidfile "$server/redis.pid"
save 3600 1 300 100
repl-diskless-sync-delay 0
CONF
  [ "$port" = "$primary" ] || echo "replicaof 127.0.0.1 $primary" >>"$server/redis.conf"
  cat >"$server/agent.yaml" <<YAML
node: {id: redis-$number, cluster: redis}
api: {listen: "127.0.0.1:$agent_port"}
etcd: {endpoints: ["$ETCD"]}
data_dir: "$server/agent"
actions:
  restart-redis: {command: ["$here/restart-redis", "$server"]}
  failover-redis: {command: ["$here/failover-redis", "$server"]}
  apply-config: {command: ["$here/../config-change/apply-config", "$server"]}
  restore-config: {command: ["$here/../config-change/restore-config", "$server"]}
  check-writes: {command: ["$here/../config-change/check-writes", "$server"]}
probe: {command: ["$here/redis-info", "$server"], interval: 2s}
YAML
done
