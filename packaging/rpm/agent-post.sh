# Run by rpm after the files are there; $1 is 1 for an installation, 2 for an upgrade.
# Makes the user that the service runs as, which group adm lets read /var/log, and its folder; what is there already stays as it is.
getent group skidway-agent >/dev/null || groupadd --system skidway-agent
if ! getent passwd skidway-agent >/dev/null; then
    useradd --system --gid skidway-agent --no-create-home --home-dir /var/lib/skidway-agent \
        --shell /usr/sbin/nologin --comment "Skidway agent" skidway-agent
    ! getent group adm >/dev/null || usermod --append --groups adm skidway-agent
fi
[ -d /var/lib/skidway-agent ] || install -d -o skidway-agent -g skidway-agent -m 0750 /var/lib/skidway-agent

if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    # Whether it is enabled is the presets' choice, as of every Fedora service: `systemctl enable --now skidway-agent` does it.
    [ "$1" != 1 ] || systemctl --no-reload preset skidway-agent.service || :
fi
