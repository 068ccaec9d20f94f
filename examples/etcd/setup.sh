#!/bin/sh
# Creates in the directory $DIR one directory for each of three etcd members, with the configuration of the member and of its agent.
# Directories that exist are not changed.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
DIR=${DIR:?set it to a directory to create, such as DIR=/tmp/etcd-demo}
ETCD=${ETCD:-http://127.0.0.1:7220}            # where the agents register: the etcd of the control plane, not this one
CLIENT_PORTS=${CLIENT_PORTS:-7201 7202 7203}
PEER_PORTS=${PEER_PORTS:-7204 7205 7206}
AGENT_PORTS=${AGENT_PORTS:-7211 7212 7213}

word() { echo "$2" | cut -d ' ' -f "$1"; }
mkdir -p "$DIR"
DIR=$(cd "$DIR" && pwd)
cluster=
for number in 1 2 3; do
  cluster=$cluster${cluster:+,}etcd-$number=http://127.0.0.1:$(word $number "$PEER_PORTS")
done
for number in 1 2 3; do
  server=$DIR/etcd-$number
  [ ! -e "$server" ] || continue
  mkdir "$server"
  mkfifo "$server/requests"
  client=http://127.0.0.1:$(word $number "$CLIENT_PORTS")
  peer=http://127.0.0.1:$(word $number "$PEER_PORTS")
  cat >"$server/etcd.yaml" <<CONF
name: etcd-$number
data-dir: $server/data
listen-client-urls: $client
advertise-client-urls: $client
listen-peer-urls: $peer
initial-advertise-peer-urls: $peer
initial-cluster: $cluster
initial-cluster-state: new
logger: zap
enable-grpc-gateway: true                            # the probe uses it; without this line a configuration file turns it off
CONF
  cat >"$server/agent.yaml" <<YAML
node: {id: etcd-$number, cluster: etcd, attributes: {client_url: "$client"}}
api: {listen: "127.0.0.1:$(word $number "$AGENT_PORTS")"}
etcd: {endpoints: ["$ETCD"]}
data_dir: "$server/agent"
actions:
  restart-etcd: {command: ["$here/restart-etcd", "$server"]}
  move-leader: {command: ["$here/move-leader", "$server"]}
  remove-member: {command: ["$here/remove-member", "$server"]}
  join-cluster: {command: ["$here/join-cluster", "$server"]}
probe: {command: [env, "ETCD_URL=$client", "$here/../probes/etcd-probe"], interval: 2s}
YAML
done
