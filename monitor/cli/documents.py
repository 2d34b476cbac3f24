"""What `--json` prints: the documents of `monitor.documents`, each with its version, indented for people who look."""

import json
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
    """Print *document*."""
    print(json.dumps({"version": VERSION, **document}, indent=2, ensure_ascii=False))
