"""Receivers and routes."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, PrivateAttr
from pydantic.config import JsonDict

from monitor.config.secrets import Secret
from monitor.config.sections.controls import RouteQuietHoursSettings, Zone
from monitor.config.types import Duration, Items, Name, OffOrDuration, RateLimit, Section, Switch, between
from monitor.domain.routes import Escalation, Route

ReceiverType = Literal["webhook", "slack", "discord", "teams", "pagerduty", "opsgenie", "alertmanager", "apprise"]

PUBLIC_URLS: Mapping[str, str] = {
    "pagerduty": "https://events.pagerduty.com/v2/enqueue",
    "opsgenie": "https://api.opsgenie.com/v2/alerts",
}
"""Types with one public address for all customers; their secret is a key."""


def _url_is_optional(schema: JsonDict) -> None:
    required = schema.get("required")
    schema["required"] = [key for key in required if key != "url"] if isinstance(required, list) else []


class ReceiverSettings(Section):
    """One destination of notifications."""

    model_config = ConfigDict(json_schema_extra=_url_is_optional)

    name: Name
    """Name of the receiver in routes, metrics and logs; its URL is never shown."""
    type: ReceiverType = "webhook"
    """Format of the notifications. `webhook`: JSON with Standard Webhooks headers; the others: the format of that service."""
    url: Secret
    """URL to POST to; treated as a secret. PagerDuty and Opsgenie have a default. For type `apprise` an address of Apprise, such as
    `ntfys://ntfy.example.org/topic`."""
    url_file: str | None = None
    """File that contains the URL."""
    secret: Secret | None = None
    """Signing secret (`whsec_` and base64 of 24 to 64 bytes), for type `webhook`. Without one, bodies are not signed."""
    secret_file: str | None = None
    """File that contains the signing secret."""
    secret_files: Items[str] = ()
    """Files with further signing secrets: during a rotation, bodies are signed with the old and the new secret."""
    secrets: Items[Secret] = ()
    """Further signing secrets in plain text; after loading, all of them, in order."""
    routing_key: Secret | None = None
    """Integration key, for type `pagerduty`."""
    routing_key_file: str | None = None
    """File that contains the integration key."""
    api_key: Secret | None = None
    """API key, for type `opsgenie`."""
    api_key_file: str | None = None
    """File that contains the API key."""
    template: Secret | None = None
    """For type `webhook`: a JSON document to send instead of the default body, in whose texts fields such as `{summary}` or
    `{data.connection.id}` are filled in; `{{` and `}}` are braces. Treated as a secret, since it may contain one."""
    headers: Mapping[str, Secret] = Field(default_factory=dict)
    """Additional headers, such as `Authorization`; their values are treated as secrets."""
    timeout: Annotated[Duration, between(timedelta(milliseconds=100), timedelta(minutes=1))] = timedelta(seconds=15)
    """Total timeout of one attempt."""
    messages_per_second: RateLimit | None = None
    """Maximum number of messages a second, after ten at once; 0 is no limit. Default: 1 for `slack`, `discord`, `teams`, `pagerduty`,
    `opsgenie` and `apprise`, no limit for the others. To a receiver that works up to eight messages are in flight at the same time."""
    send_resolved: Switch = True
    """Whether recoveries are sent too. Without them an incident at the receiver never closes by itself."""
    title: str | None = Field(default=None, max_length=1000)
    """Text in place of the title, in which fields such as `{data.connection.name}` are filled in; `{title}` is the usual one."""
    text: str | None = Field(default=None, max_length=4000)
    """Text in place of the summary, filled in likewise; `{summary}` is the usual one. It may have several lines."""
    timezone: Zone = "UTC"
    """Time zone of the times in texts, such as `Europe/Berlin`. Fields for programs stay in UTC."""
    proxy: Secret | None = None
    """HTTP proxy to send through, such as `http://user:password@proxy.example.org:3128`; treated as a secret."""
    proxy_file: str | None = None
    """File that contains the URL of the proxy."""
    ca_file: str | None = None
    """PEM file with the authorities that the receiver's certificate is checked against, instead of the system's."""
    deny_private: Switch = False
    """Whether private and loopback addresses are refused too; set it when the URL comes from an untrusted source. Link-local
    and cloud-metadata addresses are always refused."""


class EscalationSettings(Section):
    """Further receivers of an incident. They get its reminders and its end, too."""

    after: Annotated[Duration, between(timedelta(seconds=1), timedelta(days=30))]
    """How long after its notification the incident is escalated."""
    receivers: Annotated[Items[str], Field(min_length=1)]
    """Names of the receivers."""


class RouteSettings(Section):
    """One rule; the first one that matches decides which receivers get a notification."""

    match: Mapping[str, str] = Field(default_factory=dict)
    """Matchers, all of which must match. Empty: matches everything."""
    receivers: Items[str]
    """Names of the receivers; empty: the notification is dropped."""
    quiet_hours: RouteQuietHoursSettings = Field(default_factory=RouteQuietHoursSettings.defaults)
    """When this route holds its notifications back; critical ones pass, unless `severities` says otherwise. A notification about
    several connections waits only while all of its routes are quiet."""
    reminder_interval: OffOrDuration | None = None
    """Pause between the reminders of an open incident that this route took, kept exactly, instead of `policy.reminders`; `off` for
    none. The shortest counts where several routes took it."""
    escalate: EscalationSettings | None = None
    """Who is notified, too, when an incident that this route took stays open and is not acknowledged."""
    _place: str = PrivateAttr("")

    def placed(self, place: str) -> "RouteSettings":
        """A copy that knows its file and line."""
        copy = self.model_copy()
        copy._place = place  # noqa: SLF001 - its own copy
        return copy

    @property
    def place(self) -> str:
        """Its file and line."""
        return self._place

    def route(self) -> Route:
        """The route as a value of the domain."""
        escalation = Escalation(self.escalate.after, self.escalate.receivers) if self.escalate is not None else None
        return Route(self.match, self.receivers, self.quiet_hours.quiet(), self.reminder_interval, escalation)
