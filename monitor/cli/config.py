"""`config check|show|schema|reference|hash-password`: looks at a configuration without using it, and helps to write one."""

import argparse
import getpass
import sys
from pathlib import Path

from monitor.cli import output
from monitor.cli.options import add_config, add_json, load_config
from monitor.cli.output import terminal_width, wrapped
from monitor.cli.verb import Help
from monitor.config import AccountSettings, Config, ReceiverSettings
from monitor.config.dump import as_schema, as_yaml
from monitor.config.reference import reference, write
from monitor.errors import ConfigError, Problem, UsageError
from monitor.web.auth import hash_password

_EXAMPLES = """\
examples:
  postpost-monitor config check --config ./postpost-monitor.yaml
  postpost-monitor config show | less
  postpost-monitor config schema > schema.json
  postpost-monitor config hash-password              asks for it twice; the hash goes into web.config_file
"""
_WATCHES = {"off": "listed connections only", "connections": "discovers its connections", "workspace": "discovers the whole workspace"}


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb `config`."""
    parser = subparsers.add_parser(
        "config",
        help="check or show the configuration",
        description="Check or show the configuration. Nothing is contacted and nothing is changed.",
        epilog=_EXAMPLES,
        formatter_class=Help,
    )
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    checking = verbs.add_parser(
        "check",
        help="report every problem",
        description="Report every problem as 'file:line: message (what to do)'. Exit code 0 when it can be used, 78 when not.",
    )
    add_config(checking)
    add_json(checking)
    checking.set_defaults(run=check)
    showing = verbs.add_parser(
        "show", help="print what is in effect", description="Print the configuration in effect as YAML: defaults filled in, secrets masked."
    )
    add_config(showing)
    showing.set_defaults(run=show)
    schema_parser = verbs.add_parser("schema", help="print the JSON schema", description="Print the JSON schema of the file, for editors.")
    schema_parser.set_defaults(run=schema)
    hashing = verbs.add_parser(
        "hash-password",
        help="make the hash of a password",
        description="Print the bcrypt hash of a password for basic_auth_users in web.config_file. Asks on a terminal, else reads one line.",
    )
    hashing.set_defaults(run=print_hash)
    referring = verbs.add_parser("reference", help="print what every key means", description="Print what every key means, in Markdown.")
    referring.add_argument(
        "--write", metavar="ROOT", type=Path, help="for developers: regenerate docs/reference/configure.md and config/schema.json in ROOT"
    )
    referring.set_defaults(run=print_reference)


def check(args: argparse.Namespace) -> int:
    """Print every problem, or a summary when there is none."""
    try:
        config = load_config(args)
    except ConfigError as error:
        if args.json:
            _print_json(error.problems, ())
        else:
            print(error)
        return error.exit_code
    if args.json:
        _print_json((), config.warnings)
    else:
        print(summary(config, terminal_width()))
    return 0


def show(args: argparse.Namespace) -> int:
    """Print the configuration in effect."""
    sys.stdout.write(as_yaml(load_config(args)))
    return 0


def schema(args: argparse.Namespace) -> int:  # noqa: ARG001 - every verb has this form
    """Print the JSON schema."""
    sys.stdout.write(as_schema())
    return 0


def print_hash(args: argparse.Namespace) -> int:  # noqa: ARG001 - every verb has this form
    """Print the hash of a password, which is neither shown nor an argument: arguments can be seen by everybody."""
    password = _asked() if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise UsageError("the password is empty: type it, or send it on one line")
    try:
        print(hash_password(password))
    except ValueError:
        raise UsageError("the password is longer than the 72 bytes that bcrypt looks at: choose a shorter one") from None
    return 0


def _asked() -> str:
    password = getpass.getpass("Password: ")
    if getpass.getpass("Once more: ") != password:
        raise UsageError("the two are not the same: nothing was made")
    return password


def print_reference(args: argparse.Namespace) -> int:
    """Print the reference of all keys, or write it into a source tree."""
    if args.write is not None:
        write(args.write)
    else:
        sys.stdout.write(reference())
    return 0


def summary(config: Config, width: int) -> str:
    """What a good configuration amounts to, for people: several lines of *width* columns at most."""
    lines = [
        f"{config.source}: can be used",
        _counted("account", [_account(account) for account in config.accounts]),
        _counted("connection", [connection.name or connection.id for connection in config.connections]),
        _counted("receiver", [_receiver(receiver) for receiver in config.receivers]),
        _counted("warning", []) if not config.warnings else f"{_number('warning', len(config.warnings))}:",
    ]
    return "\n".join(
        [*(wrapped(line, width, "", "  ") for line in lines), *(wrapped(str(one), width, "  ", "    ") for one in config.warnings)]
    )


def _account(account: AccountSettings) -> str:
    return f"{account.name} ({_WATCHES[account.discover]})"


def _receiver(receiver: ReceiverSettings) -> str:
    return f"{receiver.name} ({receiver.type}{', signed' if receiver.secrets else ''})"


def _counted(noun: str, names: list[str]) -> str:
    shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    return f"{_number(noun, len(names))}: {shown}" if names else _number(noun, 0)


def _number(noun: str, count: int) -> str:
    return f"{count or 'no'} {noun}{'' if count == 1 else 's'}"


def _print_json(problems: tuple[Problem, ...], warnings: tuple[Problem, ...]) -> None:
    shown = {
        "ok": not problems,
        "problems": [{"location": one.location, "message": one.message, "fix": one.fix} for one in problems],
        "warnings": [{"location": one.location, "message": one.message, "fix": one.fix} for one in warnings],
    }
    output.put(shown)
