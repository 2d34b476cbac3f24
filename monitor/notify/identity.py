"""`MonitorIdentity`: how a monitor names itself in the bodies that it sends."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class MonitorIdentity:
    """
    The sender.

    Attributes:
        instance: its configured name, else the database's random one.
        dashboard_url, runbook_url, external_url: where accounts are reconnected, operators read what an alert means, and people reach
            the web port; empty for nowhere.
        users: what managed users are called, by id.
    """

    instance: str
    version: str
    dashboard_url: str = ""
    runbook_url: str = ""
    external_url: str = ""
    users: Mapping[str, str] = field(default_factory=dict)
