"""What `--json` prints: the documents of `monitor.documents`, each with its version, indented for people who look."""

import json
import sys
from collections.abc import Mapping

from monitor.documents import (
    VERSION,
    attempt,
    check,
    connection,
    delivery,
    details,
    identity,
    incident,
    iso,
    preflight,
    receiver,
    wide_incident,
)

__all__ = [
    "attempt",
    "check",
    "connection",
    "delivery",
    "details",
    "identity",
    "incident",
    "iso",
    "preflight",
    "put",
    "receiver",
    "wide_incident",
]


def put(document: Mapping[str, object]) -> None:
    """Print *document*; where standard output is not UTF-8, without any letter beyond ASCII."""
    plain = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
    print(json.dumps({"version": VERSION, **document}, indent=2, ensure_ascii=plain))
