#!/bin/sh
# Stops the server in the directory $1. Its agent keeps running.
set -eu
. "$(dirname "$0")/lib.sh"
stop_server
