"""
What each type of receiver understands: from the stored document to one HTTP request, and from its answer to a result.

Pure: no I/O, no clock; a renderer is handed everything it needs and is called anew for every attempt. To add a type,
write a module with its `Kind`, and name it here.
"""

from collections.abc import Mapping

from monitor.receivers.alertmanager import ALERTMANAGER
from monitor.receivers.discord import DISCORD
from monitor.receivers.kinds import Kind
from monitor.receivers.opsgenie import OPSGENIE
from monitor.receivers.pagerduty import PAGERDUTY
from monitor.receivers.slack import SLACK
from monitor.receivers.standard import WEBHOOK
from monitor.receivers.teams import TEAMS

KINDS: Mapping[str, Kind] = {
    "webhook": WEBHOOK,
    "slack": SLACK,
    "discord": DISCORD,
    "teams": TEAMS,
    "pagerduty": PAGERDUTY,
    "opsgenie": OPSGENIE,
    "alertmanager": ALERTMANAGER,
}
"""Receiver type, as the configuration spells it -> what is spoken there."""
