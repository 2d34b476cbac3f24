"""Who is told, and who is told what."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from monitor.config.secrets import Secret
from monitor.config.types import Duration, Items, Name, Section, Switch, between

ReceiverType = Literal["webhook", "slack", "discord", "teams", "pagerduty", "opsgenie", "alertmanager"]

PUBLIC_URLS: Mapping[str, str] = {
    "pagerduty": "https://events.pagerduty.com/v2/enqueue",
    "opsgenie": "https://api.opsgenie.com/v2/alerts",
}
"""Types whose address is public and the same for everybody; their secret is a key."""


def _url_is_optional(schema: JsonDict) -> None:
    required = schema.get("required")
    schema["required"] = [key for key in required if key != "url"] if isinstance(required, list) else []


class ReceiverSettings(Section):
    """One place to tell."""

    model_config = ConfigDict(json_schema_extra=_url_is_optional)

    name: Name
    """Name of the receiver in routes, metrics and logs; its address is never shown."""
    type: ReceiverType = "webhook"
    """What is spoken there. `webhook`: our own JSON with Standard Webhooks headers; the others: what that service understands."""
    url: Secret
    """Address to POST to; treated as a secret. PagerDuty and Opsgenie have a built-in one."""
    url_file: str | None = None
    """File that holds the address."""
    secret: Secret | None = None
    """Signing secret (`whsec_` and base64 of 24 to 64 bytes), for type `webhook`. Without one, bodies are not signed."""
    secret_file: str | None = None
    """File that holds the signing secret."""
    secret_files: Items[str] = ()
    """Further signing secrets: while a secret is being replaced, bodies are signed with the old and the new one."""
    secrets: Items[Secret] = ()
    """Further signing secrets, written out; after loading, all of them, in order."""
    routing_key: Secret | None = None
    """Integration key, for type `pagerduty`."""
    routing_key_file: str | None = None
    """File that holds the integration key."""
    api_key: Secret | None = None
    """API key, for type `opsgenie`."""
    api_key_file: str | None = None
    """File that holds the API key."""
    template: Secret | None = None
    """For type `webhook`: a JSON document to send in place of our own, in whose texts places such as `{summary}` or
    `{data.connection.id}` are filled in; `{{` and `}}` are braces. Treated as a secret, since it may hold one."""
    headers: Mapping[str, Secret] = Field(default_factory=dict)
    """Headers to send along, such as `Authorization`; their values are treated as secrets."""
    timeout: Annotated[Duration, between(timedelta(milliseconds=100), timedelta(minutes=1))] = timedelta(seconds=15)
    """Most time one attempt may take in all."""
    send_resolved: Switch = True
    """Whether recoveries are told too. Without them an incident at the receiver never closes by itself."""
    deny_private: Switch = False
    """Whether private and loopback addresses are refused too; set it when the address comes from somebody you do not trust. Link-local
    and cloud-metadata addresses are always refused."""


class RouteSettings(Section):
    """One rule; the first whose match fits decides who is told."""

    match: Mapping[str, str] = Field(default_factory=dict)
    """What must hold, all of it. Empty: always."""
    receivers: Items[str]
    """Names of the receivers to tell; empty: nobody."""
