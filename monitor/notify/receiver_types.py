"""The receiver types by name; to add one, write a module with its `ReceiverType` and add it here."""

from collections.abc import Mapping

from monitor.notify.alertmanager import ALERTMANAGER
from monitor.notify.apprise import APPRISE
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
    "apprise": APPRISE,
}
"""Type in the configuration -> how to send to it."""
