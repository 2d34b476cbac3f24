"""The verb `completion`: what a shell needs to complete verbs, options and choices."""

import argparse
from pathlib import Path

import shtab

from monitor.cli.main import build_parser, verbs_of
from monitor.cli.verb import Help

_EPILOG = """\
examples:
  source <(postpost-monitor completion bash)                                for this shell
  postpost-monitor completion bash > ~/.local/share/bash-completion/completions/postpost-monitor
  postpost-monitor completion zsh > ~/.zfunc/_postpost-monitor              a folder of $fpath
  postpost-monitor completion fish > ~/.config/fish/completions/postpost-monitor.fish

The installer puts the one for bash in place for everybody.
"""

SHELLS = ("bash", "zsh", "fish")


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "completion",
        help="print what a shell needs to complete this command",
        description="Print what a shell needs to complete verbs, options and choices.",
        epilog=_EPILOG,
        formatter_class=Help,
    )
    parser.add_argument("shell", choices=SHELLS, help="for which shell")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the script; returns 0."""
    print(script(args.shell))
    return 0


def script(shell: str) -> str:
    """The completion of the whole command line for *shell*."""
    parser = build_parser()
    for _, verb in verbs_of(parser):
        for action in verb._actions:  # noqa: SLF001 - argparse shows its options nowhere else
            if action.type is Path:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
    return shtab.complete(parser, shell)
