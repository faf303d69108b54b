# Run by rpm after the files have gone; $1 is 0 for a removal, 1 for the end of an upgrade. Data in /var/lib/skidway-agent and the user stay.
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    [ "$1" = 0 ] || systemctl try-restart skidway-agent.service || :
fi
