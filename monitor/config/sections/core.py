"""
The sections of the configuration but policy, receivers and controls. The text below a key is its documentation: `docs/reference/configure.md` is made of it.

A key ending in `_file` names a file that holds the secret; the loader reads it into the key without `_file`.
A path is relative to the folder of the configuration file.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from monitor.config.secrets import Secret
from monitor.config.types import (
    Count,
    Duration,
    Items,
    LabelName,
    Name,
    Period,
    Rate,
    Section,
    Size,
    Switch,
    Text,
    between,
    check_base_url,
    check_page_url,
    parse_listen,
    problem,
)
from monitor.domain.connections import id_problem, platform_of, user_id_problem


def one_of(*keys: str) -> Any:
    """A change to a section's JSON schema: exactly one of *keys* is given."""

    def change(schema: JsonDict) -> None:
        required = schema.get("required")
        schema["required"] = [key for key in required if key not in keys] if isinstance(required, list) else []
        schema["oneOf"] = [{"required": [key]} for key in keys]

    return change


def _check_id(value: str) -> str:
    trouble = id_problem(value)
    if trouble is not None:
        raise problem(f"is not an id that the API could know: {trouble}", "copy the id from the list of connections")
    return value


def _check_user_id(value: str) -> str:
    trouble = user_id_problem(value) if value else None
    if trouble is not None:
        raise problem(f"is not a managed user's id: {trouble}", "copy the user's _id from the workspace's list of users")
    return value.lower()


def _empty_when_null(value: object) -> object:
    return "" if value is None else value


def _check_listen(value: str) -> str:
    parse_listen(value)
    return value


ConnectionId = Annotated[str, AfterValidator(_check_id)]
UserId = Annotated[str, BeforeValidator(_empty_when_null), AfterValidator(_check_user_id)]
Labels = Mapping[LabelName, Text]


class MonitorSettings(Section):
    """What this monitor calls itself when it tells somebody something."""

    instance: Name | None = None
    """Name of this monitor in every webhook body and incident key. Without it, an id that the database keeps; set it when several
    monitors tell the same receiver."""
    dashboard_url: Annotated[str, AfterValidator(check_page_url)] = ""
    """Page on which people reconnect their accounts. Notifications link to it; without it they have no link."""


@dataclass(frozen=True, slots=True)
class Brand:
    """
    What differs between the brands.

    Attributes:
        name: as the configuration spells it.
        base_url: the public API address, without a slash at its end.
        key_header: carries the API key.
        user_header: carries the managed user's id; its name is also part of the API's 400 text.
        client_header: carries the client's name; a monitor does not send it.

    Source: api-contract.md, "Brand profile".
    """

    name: str
    base_url: str
    key_header: str
    user_header: str
    client_header: str


PUBLORA = Brand("publora", "https://api.publora.com/api/v1", "x-publora-key", "x-publora-user-id", "x-publora-client")


POSTPOST = Brand("postpost", "https://api.postpost.dev/api/v1", "x-api-key", "x-postpost-user-id", "x-postpost-client")

BRANDS = {brand.name: brand for brand in (POSTPOST, PUBLORA)}


class ApiSettings(Section):
    """The watched API and how politely it is asked."""

    base_url: Annotated[str, AfterValidator(check_base_url)] = BRANDS["postpost"].base_url
    """Address of the API. By default the brand's own. `http://` is accepted on loopback only, since every request carries the key."""
    brand: Literal["postpost", "publora"] = "postpost"
    """Which header names the API understands; the two brands are the same product."""
    timeout: Annotated[Duration, between(timedelta(milliseconds=100), timedelta(minutes=5))] = timedelta(seconds=30)
    """Most time one request may take in all. The API asks the platform while we wait, so less than 10s produces false timeouts."""
    connect_timeout: Annotated[Duration, between(timedelta(milliseconds=100), timedelta(minutes=1))] = timedelta(seconds=10)
    """Most time for reaching the API: name lookup, TCP and TLS."""
    requests_per_second: Rate = 5.0
    """Requests per second and account at most. The API asks for no more than 5."""
    concurrency: Annotated[Count, Field(le=256)] = 4
    """Requests in flight per account at most."""
    ca_file: str | None = None
    """PEM file with the certificate authorities to trust, in place of the system's. Verification can't be switched off."""

    @model_validator(mode="before")
    @classmethod
    def _address_of_brand(cls, data: Any) -> Any:
        if not isinstance(data, dict) or data.get("base_url") is not None or data.get("brand") not in BRANDS:
            return data
        return {**data, "base_url": BRANDS[data["brand"]].base_url}

    @property
    def profile(self) -> Brand:
        """The brand's header names and public address."""
        return BRANDS[self.brand]


class AccountSettings(Section):
    """One API key."""

    model_config = ConfigDict(json_schema_extra=one_of("api_key", "api_key_file"))

    name: Name
    """Name of the account in metrics, pages and notifications."""
    api_key: Secret
    """The API key, usually `${POSTPOST_API_KEY}`. A file is better: the environment of a process can be read."""
    api_key_file: str | None = None
    """File that holds the API key, such as `${CREDENTIALS_DIRECTORY}/api-key` under systemd. Readable for the monitor's user alone."""
    user_id: UserId = ""
    """Managed user (24 hexadecimal digits) whose connections are meant. Null: the owner of the key."""
    discover: Literal["off", "connections", "workspace"] = "connections"
    """Which connections are watched beside the configured ones: none, all that the API lists for this account, or those of every
    managed user of the workspace too."""


class ConnectionSettings(Section):
    """One connection that is named in the file. A bare text is an id in the first account."""

    id: ConnectionId
    """The API's `platformId`, copied verbatim: upper and lower case matter."""
    account: str = ""
    """Name of the account it belongs to; by default the first one."""
    user_id: UserId = ""
    """Managed user it belongs to; by default the account's."""
    name: Text | None = None
    """What people call it. By default the name that the API tells."""
    labels: Labels = Field(default_factory=dict)
    """Free labels; routes match on them and webhook bodies carry them."""
    interval: Period = timedelta(minutes=15)
    """Pause between two checks; by default `schedule.interval`."""
    expect: Literal["auto", "ok", "unsupported"] = "auto"
    """`ok`: a failure counts although it looks like a known false negative. `unsupported`: the API can't test it, whatever it says.
    `auto`: known false negatives are recognised."""
    require_permissions: Items[Text] = ()
    """Permissions that a passed test must report, spelt as the API does. Missing ones are told as `permissions.lost`."""

    @model_validator(mode="before")
    @classmethod
    def _bare_id(cls, data: Any) -> Any:
        return {"id": data} if isinstance(data, str) else data

    @property
    def platform(self) -> str:
        """The platform, as the id tells."""
        return platform_of(self.id)

    @property
    def key(self) -> tuple[str, str, str]:
        """Account, managed user ("" for the owner) and id: what identifies a connection."""
        return (self.account, self.user_id, self.id)


class ScheduleSettings(Section):
    """How often things are looked at."""

    interval: Annotated[Duration, between(timedelta(seconds=1), timedelta(days=7))] = timedelta(minutes=15)
    """Pause between two checks of one connection. Every check makes the API ask the platform with the customer's token, so mind the
    platforms' own limits: 5m is a sensible least, below 1m is warned about."""
    recheck: Annotated[Duration, between(timedelta(milliseconds=100), timedelta(hours=1))] = timedelta(seconds=45)
    """Pause before the second look after a surprise. Observations count towards a confirmation only when two thirds of it apart."""
    discovery: Annotated[Duration, between(timedelta(seconds=1), timedelta(days=7))] = timedelta(hours=1)
    """Pause between two readings of the list of connections, which also tells exact expiry dates."""


class DatabaseSettings(Section):
    """Where everything is kept."""

    url: Secret = Secret("sqlite:////var/lib/postpost-monitor/monitor.db")
    """`sqlite:///` and a path (four slashes in all before an absolute one), or `postgresql://user:password@host/name`. Treated as a secret,
    since it may hold a password. SQLite needs a local disk."""
    url_file: str | None = None
    """File that holds the address, in place of `url`."""


class WebSettings(Section):
    """The port for metrics, the status page and JSON. It only ever reads: nothing can be changed through it."""

    listen: Annotated[str, AfterValidator(_check_listen)] = "127.0.0.1:9840"
    """Address and port. Anything but loopback needs a password or a token, and should have TLS: the page names your accounts."""
    insecure_listen: Switch = False
    """Accepts that the port is open to the network without a password, or without TLS. For container networks and behind proxies."""
    config_file: str | None = None
    """File with TLS, users and their hashed passwords, in the form of the Prometheus exporter toolkit; see
    [the file of `web.config_file`](#the-file-of-webconfig_file). Its certificate is read again when it changes."""
    allowed_hosts: Items[str] = ()
    """Host names under which the port may be asked beside its own address; guards browsers against DNS rebinding. Empty on a
    non-loopback address: any."""
    status_page: Switch = True
    """Whether there are the status page, the JSON API and badges; metrics and health are always there."""
    token: Secret | None = None
    """Bearer token for everything but the health of the port, beside the users of `config_file`. Browsers give it as any user's password."""
    token_file: str | None = None
    """File that holds the token."""

    @property
    def host(self) -> str:
        """The address to listen on."""
        return parse_listen(self.listen)[0]

    @property
    def port(self) -> int:
        """The port to listen on; 0 lets the system choose."""
        return parse_listen(self.listen)[1]


class RetentionSettings(Section):
    """How long the past is kept. What is still owed is never deleted."""

    checks: Annotated[Duration, between(timedelta(hours=1))] = timedelta(days=90)
    """Single check results: about 60 bytes each. Those of the last three days are always kept."""
    hourly: Annotated[Duration, between(timedelta(days=32))] = timedelta(days=35)
    """How much of each hour a connection worked: about 25 bytes per connection and hour."""
    daily: Annotated[Duration, between(timedelta(days=92))] = timedelta(days=730)
    """How much of each day a connection worked."""
    incidents: Annotated[Duration, between(timedelta(days=1))] = timedelta(days=730)
    """Closed incidents."""
    max_size: Size | None = None
    """Above this size of the database the oldest single check results go before their time, and nothing else: such as `2GB`. Those of
    the last three days stay; of PostgreSQL the size is estimated."""
    deliveries: Annotated[Duration, between(timedelta(hours=1))] = timedelta(days=30)
    """Delivered notifications, with every attempt."""
    dead_deliveries: Annotated[Duration, between(timedelta(hours=1))] = timedelta(days=90)
    """Notifications that were given up or cancelled; until then `deliveries retry` can send them."""


class LoggingSettings(Section):
    """What goes to stderr. One line per change, not per check; secrets are never in it."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least important level to log."""
    format: Literal["auto", "json", "console"] = "auto"
    """`auto`: for people on a terminal, JSON elsewhere."""


class ShutdownSettings(Section):
    """How the monitor stops."""

    drain: Annotated[Duration, between(timedelta(0), timedelta(minutes=10))] = timedelta(seconds=20)
    """Time that running work gets to finish. Less than `TimeoutStopSec` of the service (45s); what is cut off is done after the next
    start."""
