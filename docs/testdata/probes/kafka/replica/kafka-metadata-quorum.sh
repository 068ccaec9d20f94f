#!/bin/sh
cat <<'OUT'
ClusterId:              fMCL8kv1SWm87L_Md-I2hg
LeaderId:               2
LeaderEpoch:            2
HighWatermark:          10
MaxFollowerLag:         0
MaxFollowerLagTimeMs:   -1
CurrentVoters:          [1,2,3]
CurrentObservers:       []
OUT
