#!/bin/sh
# Stops the member in the directory $1, as a machine that fails would. Its agent keeps running.
set -eu
. "$(dirname "$0")/lib.sh"
stop_server
