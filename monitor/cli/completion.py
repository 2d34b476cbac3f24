"""The verb `completion`: a shell completion script."""

import argparse
from pathlib import Path

import shtab

from monitor.cli.main import COMPLETE, build_parser, verbs_of
from monitor.cli.verb import Verb, argument

_EPILOG = """\
examples:
  source <(postpost-monitor completion bash)                                this shell only
  postpost-monitor completion bash > ~/.local/share/bash-completion/completions/postpost-monitor
  postpost-monitor completion zsh > ~/.zfunc/_postpost-monitor              a folder of $fpath
  postpost-monitor completion fish > ~/.config/fish/completions/postpost-monitor.fish

The installer installs the script for bash for all users.
"""

_KINDS = {
    ("", "id"): "connections",
    ("", "ids"): "connections",
    ("", "receiver"): "receivers",
    ("ack", "incidents"): "incidents",
    ("receivers test", "name"): "receivers",
    ("receivers enable", "name"): "receivers",
    ("silence expire", "numbers"): "silences",
}
"""(verb, or any, and argument) to the kind of what is offered, see `candidates`."""

SHELLS = ("bash", "zsh", "fish")


def run(args: argparse.Namespace) -> int:
    """Print the script; returns 0."""
    print(script(args.shell))
    return 0


def script(shell: str) -> str:
    """The completion of the whole command line for *shell*."""
    parser = build_parser()
    for name, verb in verbs_of(parser):
        for action in verb._actions:  # noqa: SLF001 - argparse has no public access to its options
            kind = _KINDS.get((name, action.dest)) or _KINDS.get(("", action.dest))
            if action.type is Path:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
            elif kind is not None:
                action.complete = shtab.cmd(f"postpost-monitor {COMPLETE} {kind} 2>/dev/null")  # type: ignore[attr-defined]
    return shtab.complete(parser, shell)


VERB = Verb(
    "Print a script that makes a shell complete verbs, options and choices.",
    run,
    (argument("shell", choices=SHELLS, help="the shell"),),
    epilog=_EPILOG,
)
