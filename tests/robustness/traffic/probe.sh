# The probe: it takes as long as the file of its node says, in seconds.
read -r takes <"$1" && sleep "$takes"
echo '{"status": "HEALTHY"}'
