"""Options that several verbs share."""

import argparse
from datetime import timedelta
from pathlib import Path

from monitor import logs
from monitor.config import Config, load
from monitor.config.values import parse_duration


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
    config = load(args.config)
    logs.learn(config.secrets())
    return config


def add_json(parser: "argparse._ActionsContainer") -> None:
    """Give *parser* the option `--json`."""
    parser.add_argument("--json", action="store_true", help="print JSON, as docs/command-line.md describes it")


def add_account(parser: argparse.ArgumentParser) -> None:
    """Give *parser* the option `--account NAME`."""
    parser.add_argument("--account", metavar="NAME", help="the account, or account/user, that the id belongs to")


def duration(text: str) -> timedelta:
    """The duration that an option's *text* stands for, such as `30m`."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} {error}, such as 90s, 15m, 36h or 7d") from None


def count(text: str) -> int:
    """The positive number that an option's *text* spells."""
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 10**9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 1 or more")
    return int(text)
