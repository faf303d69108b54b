# Run by rpm after the files are there; $1 is 1 for an installation, 2 for an upgrade.
# Makes the user that the service runs as, and its folder; what is there already stays as it is.
getent group skidway-collector >/dev/null || groupadd --system skidway-collector
if ! getent passwd skidway-collector >/dev/null; then
    useradd --system --gid skidway-collector --no-create-home --home-dir /var/lib/skidway-collector \
        --shell /usr/sbin/nologin --comment "Skidway collector" skidway-collector
fi
[ -d /var/lib/skidway-collector ] || install -d -o skidway-collector -g skidway-collector -m 0750 /var/lib/skidway-collector

if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    # Whether it is enabled is the presets' choice, as of every Fedora service: `systemctl enable --now skidway-collector` does it.
    [ "$1" != 1 ] || systemctl --no-reload preset skidway-collector.service || :
fi
