"""Options that several verbs share."""

import argparse
from datetime import UTC, datetime, timedelta
from pathlib import Path

from monitor import logs
from monitor.config import Config, load
from monitor.notify import templates
from monitor.text.durations import parse_duration


def add_config(parser: argparse.ArgumentParser) -> None:
    """Give *parser* the option `--config PATH`."""
    parser.add_argument(
        "--config",
        metavar="PATH",
        type=Path,
        default=None,
        help="configuration file (default: $POSTPOST_MONITOR_CONFIG, else /etc/postpost-monitor/config.yaml)",
    )


def load_config(args: argparse.Namespace) -> Config:
    """
    The configuration that `--config` names, else the one in the usual place; its secrets appear in no line of the log from then on.

    Raises:
        ConfigError: with every problem.
    """
    config = load(args.config, check_template=templates.problems)
    logs.register_secrets(config.secrets())
    return config


def add_json(parser: "argparse._ActionsContainer") -> None:
    """Give *parser* the option `--json`."""
    parser.add_argument("--json", action="store_true", help="print JSON, as docs/reference/command-line.md describes it")


def add_account(parser: argparse.ArgumentParser) -> None:
    """Give *parser* the option `--account NAME`."""
    parser.add_argument("--account", metavar="NAME", help="the account, or account/user, that the id belongs to")


def duration(text: str) -> timedelta:
    """The duration that an option's *text* stands for, such as `30m`."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} {error.args[0]}, such as 90s, 15m, 36h or 7d") from None


def instant(text: str) -> datetime:
    """The moment that an option's *text* stands for; without a zone it is UTC."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no moment, such as 2030-01-31T08:00 or 2030-01-31T08:00+01:00") from None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def past(text: str) -> timedelta | datetime:
    """How long ago, or when, by an option's *text*; `resolved` makes a moment of it."""
    try:
        return parse_duration(text)
    except ValueError:
        pass
    try:
        return instant(text)
    except (argparse.ArgumentTypeError, OverflowError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither how long ago, such as 36h or 7d, nor a moment, such as 2030-01-31 or 2030-01-31T08:00"
        ) from None


def resolved(given: timedelta | datetime | None, now: datetime) -> datetime | None:
    """The moment that `past` stands for at *now*."""
    return now - given if isinstance(given, timedelta) else given


def port(text: str) -> int:
    """The TCP port that an option's *text* spells, 0 for any free one."""
    if text.isascii() and text.isdigit() and int(text) <= 65_535:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no port; give one from 0 to 65535")


def count(text: str) -> int:
    """The positive number that an option's *text* spells."""
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 10**9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 1 or more")
    return int(text)
