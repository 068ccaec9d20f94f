# The action work: it records its start and its end, takes 20 to 300 ms, fails for args.fail percent of all actions, and writes a
# payload that nobody can store for args.hostile percent. All this follows from the action's ID.
LC_ALL=C
file=$1
record() { echo "$1 $EPOCHREALTIME $REPLICANTE_ACTION_ID $REPLICANTE_NODE_ID $REPLICANTE_TERM $$ $2" >>"$file"; }
end() { trap '' TERM; record E "$1"; exit "${1%% *}"; }
repeat() { printf "$1%.0s" $(seq "$2"); }
payload() {
  case $1 in
  0) echo '{"a\u0000b": 1}' ;;
  1) echo "$(repeat '{"a":' 250)1$(repeat '}' 250)" ;;
  2) echo "$(repeat '{"a":' 1200)1$(repeat '}' 1200)" ;;
  3) printf '{"a": "\xff\xfe"}' ;;
  4) echo '{"a": 1e999}' ;;
  5) echo "{\"a\": \"$(repeat x 70000)\"}" ;;
  6) echo '{"a": "\u0000"}' ;;
  esac >"$REPLICANTE_OUTPUT"
}
trap 'end 143' TERM
record S
sleep "0.$(printf %03d $((20 + 16#${REPLICANTE_ACTION_ID:0:4} % 281)))"
((16#${REPLICANTE_ACTION_ID:9:4} % 100 < ${REPLICANTE_ARG_FAIL:-0})) && end 1
((16#${REPLICANTE_ACTION_ID:24:4} % 100 < ${REPLICANTE_ARG_HOSTILE:-0})) && {
  payload $((16#${REPLICANTE_ACTION_ID:28:4} % 7))
  end "0 hostile"
}
end 0
