"""Writes the description of the API to a file."""

import sys
from pathlib import Path

from monitor.web.api.openapi import text

if __name__ == "__main__":
    Path(sys.argv[1]).write_text(text(), encoding="utf-8")
