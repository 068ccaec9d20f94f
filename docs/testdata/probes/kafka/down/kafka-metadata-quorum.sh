#!/bin/sh
echo "Timed out waiting for a node assignment."
exit 1
