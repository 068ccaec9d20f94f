# The action work: it records its start and its end, takes 20 to 300 ms, and fails for args.fail percent of all actions.
# How long it takes, and whether it fails, follows from the action's ID.
LC_ALL=C
file=$1
record() { echo "$1 $EPOCHREALTIME $REPLICANTE_ACTION_ID $REPLICANTE_NODE_ID $REPLICANTE_TERM $$ $2" >>"$file"; }
end() { trap '' TERM; record E "$1"; exit "$1"; }
trap 'end 143' TERM
record S
sleep "0.$(printf %03d $((20 + 16#${REPLICANTE_ACTION_ID:0:4} % 281)))"
((16#${REPLICANTE_ACTION_ID:9:4} % 100 < ${REPLICANTE_ARG_FAIL:-0})) && end 1
end 0
