#!/bin/sh
case "$*" in *--under-replicated-partitions*) cat <<'OUT' ;; esac
	Topic: orders	Partition: 0	Leader: 2	Replicas: 1,2,3	Isr: 2,3
OUT
