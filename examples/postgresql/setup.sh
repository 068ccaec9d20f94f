#!/bin/sh
# Creates in the directory $DIR one directory for each of three PostgreSQL servers, with the configuration of the server and of its agent.
# Directories that exist are not changed.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
DIR=${DIR:?set it to a directory to create, such as DIR=/tmp/postgresql-demo}
ETCD=${ETCD:-http://127.0.0.1:7320}            # where the agents register: the etcd of the control plane
PORTS=${PORTS:-7301 7302 7303}
AGENT_PORTS=${AGENT_PORTS:-7311 7312 7313}

word() { echo "$2" | cut -d ' ' -f "$1"; }
mkdir -p "$DIR"
DIR=$(cd "$DIR" && pwd)
for number in 1 2 3; do
  server=$DIR/pg-$number
  [ ! -e "$server" ] || continue
  mkdir -p "$server/conf.d"
  mkfifo "$server/requests"
  [ "$(id -u)" != 0 ] || chown postgres "$server"
  cat >"$server/postgresql.conf" <<CONF
data_directory = '$server/data'
hba_file = '$server/pg_hba.conf'
include_dir = 'conf.d'                               # primary.conf: whose replica it is
listen_addresses = '127.0.0.1'
port = $(word $number "$PORTS")
unix_socket_directories = ''
shared_buffers = 16MB
wal_log_hints = on                                   # for pg_rewind
wal_keep_size = 256MB                                # a replica that was away finds what it missed
wal_retrieve_retry_interval = 1s
CONF
  cat >"$server/pg_hba.conf" <<CONF
host all,replication postgres 127.0.0.1/32 trust
CONF
  cat >"$server/agent.yaml" <<YAML
node: {id: pg-$number, cluster: postgresql, attributes: {address: "127.0.0.1:$(word $number "$PORTS")"}}
api: {listen: "127.0.0.1:$(word $number "$AGENT_PORTS")"}
etcd: {endpoints: ["$ETCD"]}
data_dir: "$server/agent"
actions:
  restart-postgresql: {command: ["$here/restart-postgresql", "$server"]}
  stop-primary: {command: ["$here/stop-primary", "$server"]}
  promote: {command: ["$here/promote", "$server"]}
  follow: {command: ["$here/follow", "$server"]}
  rejoin: {command: ["$here/rejoin", "$server"]}
probe: {command: [env, PGHOST=127.0.0.1, "PGPORT=$(word $number "$PORTS")", PGUSER=postgres, "$here/../probes/postgresql-probe"], interval: 2s}
YAML
done
(
  set -- "$DIR/pg-1"
  . "$here/lib.sh"
  [ -e "$data" ] || as_postgres initdb --pgdata "$data" --username postgres --auth trust --no-sync >/dev/null
)
