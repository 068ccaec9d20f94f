#!/bin/sh
# Creates in the directory $DIR one directory for each of three members of a replica set, with the configuration of its agent.
# Directories that exist are not changed.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
DIR=${DIR:?set it to a directory to create, such as DIR=/tmp/mongodb-demo}
ETCD=${ETCD:-http://127.0.0.1:7420}            # where the agents register: the etcd of the control plane
PORTS=${PORTS:-7401 7402 7403}
AGENT_PORTS=${AGENT_PORTS:-7411 7412 7413}

word() { echo "$2" | cut -d ' ' -f "$1"; }
mkdir -p "$DIR"
DIR=$(cd "$DIR" && pwd)
for number in 1 2 3; do
  server=$DIR/mongo-$number
  [ ! -e "$server" ] || continue
  mkdir -p "$server/data"
  mkfifo "$server/requests"
  word $number "$PORTS" >"$server/port"
  cat >"$server/agent.yaml" <<YAML
node: {id: mongo-$number, cluster: mongodb}
api: {listen: "127.0.0.1:$(word $number "$AGENT_PORTS")"}
etcd: {endpoints: ["$ETCD"]}
data_dir: "$server/agent"
actions:
  restart-mongod: {command: ["$here/restart-mongod", "$server"]}
  step-down: {command: ["$here/step-down", "$server"]}
probe:
  command: [env, "MONGODB_URI=mongodb://127.0.0.1:$(word $number "$PORTS")/?directConnection=true&serverSelectionTimeoutMS=5000", "$here/../probes/mongodb-probe"]
  interval: 10s                                # mongosh takes about a second to start
  timeout: 30s
YAML
done
