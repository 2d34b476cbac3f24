"""Options that several verbs share."""

import argparse
import os
import pwd
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from monitor import logs
from monitor.cli.verb import argument
from monitor.config import Config, ReceiverSettings, load
from monitor.domain.connections import id_problem
from monitor.errors import UsageError
from monitor.text.durations import parse_duration

CONFIG = argument(
    "--config",
    metavar="PATH",
    type=Path,
    default=argparse.SUPPRESS,
    help="configuration file (default: $POSTPOST_MONITOR_CONFIG, else /etc/postpost-monitor/config.yaml)",
)
JSON = argument("--json", action="store_true", help="print JSON, as docs/reference/command-line.md describes it")
ACCOUNT = argument("--account", metavar="NAME", help="the account, or account/user, that the id belongs to")
FILTERS = (
    argument("--platform", action="append", metavar="NAME", help="filter by platform; may be repeated"),
    argument("--account", action="append", metavar="NAME", help="filter by account, or account/user; may be repeated"),
    argument("--label", action="append", metavar="NAME=VALUE", help="filter by label; if repeated, all must match"),
)
"""Which connections a verb shows."""


def load_config(args: argparse.Namespace) -> Config:
    """The configuration that `--config` names, else the default one; its secrets are redacted from then on. Raises ConfigError."""
    config = load(args.config, check_template=_template_problems, after_reading=_become_service_user)
    logs.register_secrets(config.secrets())
    return config


def _template_problems(receiver: ReceiverSettings, nearest: Callable[[str, Sequence[str]], str | None]) -> Iterable[tuple[str, str, str]]:
    from monitor.notify import templates  # noqa: PLC0415 - few receivers have one, and a verb starts faster without

    return templates.problems(receiver, nearest)


def _become_service_user() -> None:
    """Become the user that the installed command names to root: what the configuration names is checked as the service reads it."""
    name = os.environ.get("POSTPOST_MONITOR_USER")
    if name is None or os.geteuid() != 0:
        return
    try:
        user = pwd.getpwnam(name)
    except KeyError:
        raise UsageError(f"there is no user {name}: install the service, or unset POSTPOST_MONITOR_USER") from None
    os.initgroups(name, user.pw_gid)
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)


def platform_ids(args: argparse.Namespace) -> list[str]:
    """The ids of `args.ids`, each once; raises UsageError for one that the API cannot know."""
    for platform_id in args.ids:
        problem = id_problem(platform_id)
        if problem is not None:
            raise UsageError(f"{platform_id!r} is not a valid platform id: {problem}")
    return list(dict.fromkeys(args.ids))


def duration(text: str) -> timedelta:
    """Parse a duration such as `30m`."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} {error.args[0]}, such as 90s, 15m, 36h or 7d") from None


def instant(text: str) -> datetime:
    """Parse a time in ISO 8601; without a zone it is UTC."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time, such as 2030-01-31T08:00 or 2030-01-31T08:00+01:00") from None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def past(text: str) -> timedelta | datetime:
    """Parse a duration before now, or a time; `resolved` turns both into a time."""
    try:
        return parse_duration(text)
    except ValueError:
        pass
    try:
        return instant(text)
    except (argparse.ArgumentTypeError, OverflowError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a duration before now, such as 36h or 7d, nor a time, such as 2030-01-31 or 2030-01-31T08:00"
        ) from None


def resolved(value: timedelta | datetime | None, now: datetime) -> datetime | None:
    """The time that a value of `past` means at *now*."""
    return now - value if isinstance(value, timedelta) else value


def port(text: str) -> int:
    """Parse a TCP port; 0 means any free one."""
    if text.isascii() and text.isdigit() and int(text) <= 65_535:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a port; use a number from 0 to 65535")


def count(text: str) -> int:
    """Parse a positive number."""
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 10**9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 1 or more")
    return int(text)
