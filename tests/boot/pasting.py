"""The commands of the documents, pasted into a fresh machine in their order."""

import re
from collections.abc import Mapping
from pathlib import Path

from tests.boot.container import Container

ROOT = Path(__file__).parents[2]

_EDITOR = """\
#!/bin/sh
# What a person would type: for each file the text in /root/typed.
cat /root/typed/$(basename "$1" | sed 's/[A-Za-z0-9]\\{8\\}$//; s/\\.$//') >"$1"
"""


def blocks_below(page: str, heading: str, language: str = "sh") -> list[str]:
    """The blocks in this *language* below *heading* of the document *page*, up to the next heading that is not below it."""
    text = (ROOT / page).read_text(encoding="utf-8")
    level = re.search(rf"^(#+) {re.escape(heading)}$", text, re.MULTILINE)
    assert level is not None, f"{page} has no heading {heading!r}"
    rest = text[level.end() :]
    end = re.search(
        rf"^#{{1,{len(level[1])}}} ", re.sub(r"```.*?```", lambda block: " " * len(block[0]), rest, flags=re.DOTALL), re.MULTILINE
    )
    return re.findall(rf"^```{language}\n(.*?)^```$", rest[: end.start() if end else None], re.MULTILINE | re.DOTALL)


class Person:
    """Somebody with a shell on *machine*, in its *folder*, who does what the documents say."""

    def __init__(self, machine: Container, folder: str) -> None:
        self.machine = machine
        self._folder = folder
        (machine.root / "root/typed").mkdir(exist_ok=True)
        self._editor = machine.root / "root/editor"
        self._editor.write_text(_EDITOR)
        self._editor.chmod(0o755)

    def will_type(self, name: str, text: str) -> None:
        """Whatever file called *name* is opened in an editor gets this *text*."""
        (self.machine.root / "root/typed" / name).write_text(text)

    def will_append(self, path: str, text: str) -> None:
        """From now on whoever opens an editor appends *text* to the file *path* too."""
        self._editor.write_text(f"{_EDITOR}cat >>{path} <<'END'\n{text}END\n")

    def will_append_nothing(self) -> None:
        """From now on files get what was typed, and nothing else."""
        self._editor.write_text(_EDITOR)

    def follow(self, page: str, heading: str, *, which: slice = slice(None), instead: Mapping[str, str] | None = None) -> str:
        """
        What all, or *which*, blocks below *heading* print; raises Failed at the first command that fails.

        *instead*: what a person puts in place of an example, such as the key of an incident.
        """
        blocks = blocks_below(page, heading)[which]
        for example, own in (instead or {}).items():
            assert any(example in block for block in blocks), f"{page} does not say {example!r} below {heading!r}"
            blocks = [block.replace(example, own) for block in blocks]
        assert blocks, f"{page} has no commands below {heading!r}"
        return "".join(
            self.machine.run(f"cd {self._folder}; export SUDO_EDITOR=/root/editor DEBIAN_FRONTEND=noninteractive; {block}")
            for block in blocks
        )
