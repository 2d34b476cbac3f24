"""The documents that are generated from the code are up to date; `make docs` regenerates them."""

import pytest

from docs.generate import DOCUMENTS
from tests.project.source import ROOT


@pytest.mark.parametrize("path", DOCUMENTS)
def test_generated(path: str) -> None:
    """Each document is what the code generates now."""
    text = (ROOT / path).read_text(encoding="utf-8")
    assert text == DOCUMENTS[path](text), "run `make docs`"
