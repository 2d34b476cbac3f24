"""The verb `config`: check or show the configuration, hash a password."""

import argparse
import asyncio
import getpass
import os
import sys
from pathlib import Path

from monitor.cli import output
from monitor.cli.options import CONFIG, JSON, load_config
from monitor.cli.output import terminal_width, wrapped
from monitor.cli.verb import Verb, argument
from monitor.clock import SystemClock
from monitor.config import Config
from monitor.config.dump import as_schema, as_yaml
from monitor.config.loader import DROP_INS, read_document
from monitor.config.reference import reference
from monitor.config.sections.core import ConnectionMatch
from monitor.errors import EXIT_CONFIG, ConfigError, Problem, UsageError
from monitor.runtime import reload_outcome
from monitor.text.links import RUNBOOK
from monitor.web.auth import hash_password

_EXAMPLES = """\
examples:
  postpost-monitor config check ./postpost-monitor.yaml
  postpost-monitor config show | less
  postpost-monitor config rules > postpost-monitor.rules.yml   for rule_files of Prometheus
  postpost-monitor config schema > schema.json
  postpost-monitor config hash-password              asks for it twice; put the hash into web.config_file
"""
_RELOAD_SECONDS = 80.0
_WATCHES = {"off": "configured connections only", "connections": "discovers its connections", "workspace": "discovers the whole workspace"}


def check(args: argparse.Namespace) -> int:
    """Print every problem, or a summary; returns 0 or 78."""
    if args.file is not None:
        args.config = args.file
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
    """Print the configuration in effect; returns 0."""
    sys.stdout.write(as_yaml(load_config(args), read_document(args.config)))
    return 0


def reload(args: argparse.Namespace) -> int:
    """Ask a running daemon to read its configuration again, and print what came of it; returns 0, 1 or 78."""
    outcome = asyncio.run(reload_outcome.request(args.pid or int(os.environ.get("MAINPID") or 0), _RELOAD_SECONDS, SystemClock()))
    if outcome is None:
        print("the reload has not ended yet: see the log of the service", file=sys.stderr)
        return 1
    for line in outcome.problems:
        print(line, file=sys.stderr)
    for section in outcome.restart:
        print(f"{section} has changed, which takes effect with: systemctl restart postpost-monitor")
    if outcome.problems:
        print("the configuration is refused; the old one keeps running", file=sys.stderr)
    return EXIT_CONFIG if outcome.problems else 0


def schema(args: argparse.Namespace) -> int:  # noqa: ARG001 - the signature of every verb
    """Print the JSON schema; returns 0."""
    sys.stdout.write(as_schema())
    return 0


def rules(args: argparse.Namespace) -> int:
    """Print the rules for Prometheus as one file; returns 0."""
    page = load_config(args).monitor.runbook_url
    head, *others = (file.read_text(encoding="utf-8") for file in sorted(_rules_folder().glob("*.yml")))
    text = "\n".join([head, *(other.partition("groups:\n")[2] for other in others)])
    sys.stdout.write(text.replace(f"runbook_url: {RUNBOOK}", f"runbook_url: {page or RUNBOOK}"))
    if not page:
        print("Set monitor.runbook_url: without it the links to the runbook are relative.", file=sys.stderr)
    return 0


def _rules_folder() -> Path:
    """Inside the package once installed, in `deploy/` of a source checkout."""
    package = Path(__file__).parent.parent
    installed = package / "_rules"
    return installed if installed.is_dir() else package.parent / "deploy/prometheus/rules"


def print_hash(args: argparse.Namespace) -> int:  # noqa: ARG001 - the signature of every verb
    """Print the hash of a password; returns 0. It is not an argument, because other users can read those."""
    password = _typed() if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise UsageError("the password is empty: type it, or send it as one line")
    try:
        print(hash_password(password))
    except ValueError:
        raise UsageError("the password is longer than 72 bytes, the limit of bcrypt: choose a shorter one") from None
    return 0


def _typed() -> str:
    password = getpass.getpass("Password: ")
    if getpass.getpass("Repeat: ") != password:
        raise UsageError("the two passwords differ")
    return password


def print_reference(args: argparse.Namespace) -> int:  # noqa: ARG001 - the signature of every verb
    """Print the reference of all keys; returns 0."""
    sys.stdout.write(reference())
    return 0


def summary(config: Config, width: int) -> str:
    """What a valid configuration contains, wrapped at *width*."""
    counted = (
        ("account", [f"{account.name} ({_WATCHES[account.discover]})" for account in config.accounts]),
        ("connection", [connection.name or connection.id for connection in config.named_connections()]),
        ("selector", [_selector(connection.match) for connection in config.connections if connection.match is not None]),
        ("user", [user.name for user in config.users]),
        ("receiver", [f"{one.name} ({one.type}{', signed' if one.secrets else ''})" for one in config.receivers]),
    )
    more = f", with {', '.join(f'{DROP_INS}/{Path(name).name}' for name in config.drop_ins)}" if config.drop_ins else ""
    rare = {"selector", "user"}
    lines = [f"{config.source}: valid{more}", *(_counted(noun, names) for noun, names in counted if names or noun not in rare)]
    lines.append(_number("warning", len(config.warnings)) + (":" if config.warnings else ""))
    return "\n".join(
        [
            *(wrapped(line, width, "", "  ") for line in lines),
            *(wrapped(str(warning), width, "  ", "    ") for warning in config.warnings),
        ]
    )


def _selector(match: ConnectionMatch) -> str:
    return " ".join(f"{name}={pattern}" for name, pattern in match.model_dump(exclude_none=True).items()) or "every connection"


def _counted(noun: str, names: list[str]) -> str:
    shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    return f"{_number(noun, len(names))}: {shown}" if names else _number(noun, 0)


def _number(noun: str, count: int) -> str:
    return f"{count or 'no'} {noun}{'' if count == 1 else 's'}"


def _print_json(problems: tuple[Problem, ...], warnings: tuple[Problem, ...]) -> None:
    output.put({"ok": not problems, "problems": [*map(_problem, problems)], "warnings": [*map(_problem, warnings)]})


def _problem(problem: Problem) -> dict[str, object]:
    return {"location": problem.location, "message": problem.message, "fix": problem.fix}


VERB = Verb(
    "Check, show or reload the configuration.",
    verbs={
        "check": Verb(
            "Report every problem as 'file:line: message (what to do)'. Exit code 0 when the configuration is valid, 78 when not.",
            check,
            (argument("file", nargs="?", type=Path, metavar="FILE", help="configuration file, in place of --config"), CONFIG, JSON),
            help="report every problem",
        ),
        "show": Verb(
            "Print the configuration in effect as YAML: files merged, defaults filled in, secrets masked. Comments name the file and line of "
            "what is given.",
            show,
            (CONFIG,),
            help="print the configuration in effect",
        ),
        "rules": Verb(
            "Print the alert and recording rules for Prometheus as one file, with links to the runbook at monitor.runbook_url.",
            rules,
            (CONFIG,),
            help="print the rules for Prometheus",
        ),
        "reload": Verb(
            "Ask the running service to read its configuration again, and wait; systemctl reload runs this. Exit code 0 when it is applied,"
            " 78 when it is refused: the old one keeps running then.",
            reload,
            (argument("--pid", type=int, metavar="PID", help="process of the service (default: $MAINPID)"),),
            help="let the running service read it again",
        ),
        "schema": Verb("Print the JSON schema of the file, for editors.", schema, help="print the JSON schema"),
        "hash-password": Verb(
            "Print the bcrypt hash of a password for basic_auth_users in web.config_file. Asks on a terminal, else reads one line.",
            print_hash,
            help="hash a password",
        ),
        "reference": Verb("Print the reference of all keys in Markdown.", print_reference, help="print the reference of all keys"),
    },
    epilog=_EXAMPLES,
)
