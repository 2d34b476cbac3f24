"""Options that several verbs share."""

import argparse
from pathlib import Path

from monitor.config import Config, load


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
    """The configuration that `--config` names, else the one in the usual place; raises `ConfigError` with every problem."""
    return load(args.config)
