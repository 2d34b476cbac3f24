"""
What each type of receiver understands: from the stored document to one HTTP request, and from its answer to a result.

Pure: no I/O, no clock; a renderer is handed everything it needs and is called anew for every attempt. To add a type,
write a module with its `Kind`, and name it here.
"""

from collections.abc import Mapping

from monitor.notify.alertmanager import ALERTMANAGER
from monitor.notify.base import ReceiverType
from monitor.notify.discord import DISCORD
from monitor.notify.opsgenie import OPSGENIE
from monitor.notify.pagerduty import PAGERDUTY
from monitor.notify.slack import SLACK
from monitor.notify.teams import TEAMS
from monitor.notify.webhook import WEBHOOK

RECEIVER_TYPES: Mapping[str, ReceiverType] = {
    "webhook": WEBHOOK,
    "slack": SLACK,
    "discord": DISCORD,
    "teams": TEAMS,
    "pagerduty": PAGERDUTY,
    "opsgenie": OPSGENIE,
    "alertmanager": ALERTMANAGER,
}
"""Receiver type, as the configuration spells it -> what is spoken there."""
