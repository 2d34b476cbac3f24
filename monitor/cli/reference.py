"""The reference of the command line in Markdown, made from the parsers, so that it is never out of date."""

import argparse
import sys
from pathlib import Path

from monitor.cli.main import build_parser, verbs_of

BEGIN = "<!-- begin of the reference: made by `python -m monitor.cli.reference docs/reference/command-line.md` -->\n"
END = "<!-- end of the reference -->\n"


def reference() -> str:
    """Every verb with its options."""
    return "\n".join(_section(name, parser) for name, parser in verbs_of(build_parser()))


def rewritten(page: str) -> str:
    """*page* with its reference made anew; what people wrote around it stays."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{reference()}\n{END}{after}"


def _section(name: str, parser: argparse.ArgumentParser) -> str:
    parts = [f"{'###' if ' ' in name else '##'} {name}", " ".join((parser.description or "").split())]
    rows = [row for action in parser._actions if (row := _row(action, parser))]  # noqa: SLF001
    if rows:
        parts.append("\n".join(["| | |", "| --- | --- |", *rows]))
    if parser.epilog:
        parts.append(f"```text\n{parser.epilog.rstrip()}\n```")
    return "\n\n".join(parts) + "\n"


def _row(action: argparse.Action, parser: argparse.ArgumentParser) -> str:
    if isinstance(action, argparse._HelpAction | argparse._SubParsersAction):  # noqa: SLF001
        return ""
    name = ", ".join(f"`{option}`" for option in action.option_strings) if action.nargs == 0 else f"`{shown(action)}`"
    return "| {} | {} |".format(*(cell.replace("|", "\\|") for cell in (name, spoken(action, parser))))


def shown(action: argparse.Action) -> str:
    """An option or a positional as people write it, with its value."""
    choices = "|".join(str(choice) for choice in action.choices) if action.choices else ""
    metavar = action.metavar if isinstance(action.metavar, str) else choices or action.dest.upper()
    if not action.option_strings:
        return metavar + (" ..." if action.nargs in ("*", "+") else "")
    if action.nargs == 0:
        return ", ".join(action.option_strings)
    return f"{', '.join(action.option_strings)} {f'[{metavar}]' if action.nargs == '?' else metavar}"


def spoken(action: argparse.Action, parser: argparse.ArgumentParser) -> str:
    """What an option does."""
    return (action.help or "") % {"prog": parser.prog, "default": action.default}


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(rewritten(path.read_text(encoding="utf-8")), encoding="utf-8")
