"""What is made of the code and committed for readers is what the code makes now."""

from collections.abc import Callable

import pytest

from monitor.schemas import commands
from monitor.web.api import openapi
from tests.project.source import ROOT


@pytest.mark.parametrize(
    ("file", "made", "command"),
    [
        ("docs/reference/openapi.json", openapi.text, "python -m monitor.web.api docs/reference/openapi.json"),
        (
            "docs/reference/command-line.schema.json",
            commands.as_text,
            "python -m monitor.schemas.commands docs/reference/command-line.schema.json",
        ),
    ],
)
def test_descriptions(file: str, made: Callable[[], str], command: str) -> None:
    """Each description is up to date with the shapes and the vocabularies; the command makes it anew."""
    assert (ROOT / file).read_text(encoding="utf-8") == made(), command
