# What agents run: it writes down when it starts and ends, takes 20 to 300 ms, and fails for args.fail percent of all
# actions. How long, and whether, follows from the action's ID.
LC_ALL=C
history=$1
say() { echo "$1 $EPOCHREALTIME $REPLICANTE_ACTION_ID $REPLICANTE_NODE_ID $REPLICANTE_TERM $$ $2" >>"$history"; }
end() { trap '' TERM; say E "$1"; exit "$1"; }
trap 'end 143' TERM
say S
sleep "0.$(printf %03d $((20 + 16#${REPLICANTE_ACTION_ID:0:4} % 281)))"
((16#${REPLICANTE_ACTION_ID:9:4} % 100 < ${REPLICANTE_ARG_FAIL:-0})) && end 1
end 0
