"""
Facts as JSON: one function and one shape for each thing, whoever shows it.

The JSON of the web port and what the verbs print with `--json` come from here: names as in the webhook's body, moments in
ISO 8601, durations in seconds, absent facts as null. `docs/reference/api.md` and `docs/reference/command-line.md` describe them; a change
that breaks readers raises VERSION.
"""

from monitor.documents.connections import connection, details, identity, preflight, preflight_unknown, receiver, wide_incident
from monitor.documents.records import attempt, check, delivery, incident, uptime
from monitor.documents.values import VERSION, encode, iso, seconds

__all__ = [
    "VERSION",
    "attempt",
    "check",
    "connection",
    "delivery",
    "details",
    "encode",
    "identity",
    "incident",
    "iso",
    "preflight",
    "preflight_unknown",
    "receiver",
    "seconds",
    "uptime",
    "wide_incident",
]
