#!/bin/sh
# The command postpost-monitor. For root it runs as the service's user, so that no file of root's appears among its files.
# It finds the credentials where systemd takes them from to hand them over.
export CREDENTIALS_DIRECTORY="${CREDENTIALS_DIRECTORY:-/etc/postpost-monitor/credentials}"
program=/opt/postpost-monitor/current/bin/postpost-monitor
if [ "$(id -u)" = 0 ]; then
    case "$1 $2" in
        # The file may lie where only root can read; everything that it names is read as the service's user.
        "config check" | "config show" | "config rules")
            export POSTPOST_MONITOR_USER=postpost-monitor
            exec "$program" "$@"
            ;;
    esac
    exec runuser -u postpost-monitor -- "$program" "$@"
fi
exec "$program" "$@"
