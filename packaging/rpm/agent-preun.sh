# Run by rpm before the files go; $1 is 0 for a removal, 1 for the end of an upgrade.
if [ "$1" = 0 ] && [ -d /run/systemd/system ]; then
    systemctl --no-reload disable --now skidway-agent.service || :
fi
