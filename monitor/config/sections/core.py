"""
The sections of the configuration other than policy, receivers and controls.

The text below a key is its documentation, from which `docs/reference/configure.md` is made. A key ending in `_file` names
a file that contains the secret; the loader reads it into the key without `_file`.
A path is relative to the folder of the configuration file.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, PrivateAttr, model_validator
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
    RateLimit,
    Section,
    Size,
    Switch,
    Text,
    between,
    check_base_url,
    check_page_url,
    check_runbook_url,
    parse_listen,
    problem,
)
from monitor.domain.connections import id_problem, platform_of, user_id_problem
from monitor.domain.routing.connection_entries import ConnectionEntry


def one_of(*keys: str) -> Any:
    """A change to a section's JSON schema: exactly one of *keys* is given."""

    def change(schema: JsonDict) -> None:
        required = schema.get("required")
        schema["required"] = [key for key in required if key not in keys] if isinstance(required, list) else []
        schema["oneOf"] = [{"required": [key]} for key in keys]

    return change


def _check_id(value: str) -> str:
    if value.endswith("*"):
        raise problem("is a pattern, not an id", 'write match: {id: "..."} in place of id')
    wrong = id_problem(value)
    if wrong is not None:
        raise problem(f"is not a valid connection id: {wrong}", "copy the id from the list of connections")
    return value


def _check_user_id(value: str) -> str:
    wrong = user_id_problem(value) if value else None
    if wrong is not None:
        raise problem(f"is not a managed user's id: {wrong}", "copy the user's _id from the workspace's list of users")
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
    """How this monitor identifies itself in notifications."""

    instance: Name | None = None
    """Name of this monitor in every webhook body and incident key; by default an id stored in the database. Set it when several
    monitors notify the same receiver."""
    dashboard_url: Annotated[str, AfterValidator(check_page_url)] = ""
    """Page for reconnecting accounts. Notifications link to it; without it they have no link."""
    reload_on_change: Switch = False
    """Whether the configuration is reloaded, as by SIGHUP, within about ten seconds after the content of its file, of a file of `config.d`, or of
    a file that it names (secrets, certificates of authorities, `web.config_file`) has changed."""
    runbook_url: Annotated[str, AfterValidator(check_runbook_url)] = ""
    """Address at which operators read `docs/how-to/alerts.md`: of your copy, or of this project's repository. `config rules` and
    notifications link to it."""


@dataclass(frozen=True, slots=True)
class Brand:
    """
    The differences between the brands.

    Attributes:
        name: as the configuration spells it.
        base_url: the public API address, without a final slash.
        key_header: carries the API key.
        user_header: carries the managed user's id; its name is also part of the API's 400 text.

    Source: api-contract.md, "Brand profile".
    """

    name: str
    base_url: str
    key_header: str
    user_header: str


PUBLORA = Brand("publora", "https://api.publora.com/api/v1", "x-publora-key", "x-publora-user-id")
POSTPOST = Brand("postpost", "https://api.postpost.dev/api/v1", "x-api-key", "x-postpost-user-id")
BRANDS = {brand.name: brand for brand in (POSTPOST, PUBLORA)}


class ApiSettings(Section):
    """The API and the limits of its use."""

    base_url: Annotated[str, AfterValidator(check_base_url)] = BRANDS["postpost"].base_url
    """URL of the API; by default the brand's. `http://` is accepted on loopback only, since every request contains the key."""
    brand: Literal["postpost", "publora"] = "postpost"
    """Brand of the API, which decides its header names; the two brands are the same product."""
    timeout: Annotated[Duration, between(timedelta(milliseconds=100), timedelta(minutes=5))] = timedelta(seconds=30)
    """Total timeout of one request. The API waits for the platform, so less than 10s causes false timeouts."""
    connect_timeout: Annotated[Duration, between(timedelta(milliseconds=100), timedelta(minutes=1))] = timedelta(seconds=10)
    """Timeout for connecting to the API: DNS, TCP and TLS."""
    requests_per_second: Rate = 5.0
    """Maximum requests per second and account. The API asks for at most 5."""
    concurrency: Annotated[Count, Field(le=256)] = 4
    """Maximum concurrent requests per account."""
    ca_file: str | None = None
    """PEM file with the trusted certificate authorities, instead of the system's. Verification can't be disabled."""

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
    """The API key, usually `${POSTPOST_API_KEY}`. A file is safer: the environment of a process can be read."""
    api_key_file: str | None = None
    """File that contains the API key, such as `${CREDENTIALS_DIRECTORY}/api-key` under systemd. Readable only for the monitor's user."""
    user_id: UserId = ""
    """Managed user (24 hexadecimal digits) whose connections are checked. Null: the owner of the key."""
    discover: Literal["off", "connections", "workspace"] = "connections"
    """Which connections are checked in addition to the configured ones: none, all that the API lists for this account, or also those of
    every managed user of the workspace."""


def _check_user_name(value: str) -> str:
    if {"|", "*", "/"} & set(value):
        raise problem("must not contain |, * or /", "matchers give them a meaning; use another character")
    if user_id_problem(value) is None:
        raise problem("has the form of a user's id", "give the user a name that people know")
    return value


class UserSettings(Section):
    """One managed user, a tenant of the workspace: what it is called wherever people read of it."""

    id: Annotated[str, AfterValidator(_check_user_id)]
    """The API's id of the user (24 hexadecimal digits)."""
    name: Annotated[Text, AfterValidator(_check_user_name)]
    """Name on the status page, in tables, notifications and the metric `postpost_connection_info`. Matchers, `silence`, `ack` and
    `--account` take it in place of the id."""
    labels: Labels = Field(default_factory=dict)
    """Labels that all connections of the user have; entries of `connections` may replace them."""


class ConnectionMatch(Section):
    """
    Which connections an entry is about, in place of `id`. Each matcher is a value, or several separated by `|`, each may end in `*`; all
    must match. `match: {}` is about every connection.
    """

    account: Text | None = None
    """Name of an account."""
    user_id: Text | None = None
    """Id of a managed user, or a name from `users`."""
    platform: Text | None = None
    """Platform, in lower case."""
    id: Text | None = None
    """The API's `platformId`, such as `linkedin-*`."""

    def matchers(self) -> dict[str, str]:
        """The matchers, named as in routes."""
        given = {"account": self.account, "user": self.user_id, "platform": self.platform, "connection": self.id}
        return {name: pattern for name, pattern in given.items() if pattern is not None}


class ConnectionSettings(Section):
    """
    One connection, or with `match` all that a selector matches, discovered ones too. A plain text is an id in the first account.

    All entries that match a connection apply. What an entry with `match` gives is replaced by a later one, and by the entry with the
    `id`; labels are merged, one by one. A selector never adds a connection.
    """

    model_config = ConfigDict(json_schema_extra=one_of("id", "match"))

    id: ConnectionId = ""
    """The API's `platformId`, copied verbatim; case-sensitive. Either `id` or `match` is required."""
    match: ConnectionMatch | None = None
    """Selector, in place of `id`, `account` and `user_id`."""
    account: str = ""
    """Name of the account it belongs to; by default the first one."""
    user_id: UserId = ""
    """Managed user it belongs to; by default the account's."""
    name: Text | None = None
    """Display name. By default the one from the API."""
    labels: Labels = Field(default_factory=dict)
    """Labels; routes match on them and webhook bodies contain them."""
    interval: Period | None = None
    """Pause between two checks; by default `schedule.interval`."""
    expect: Literal["auto", "ok", "unsupported"] = "auto"
    """`ok`: failures count even if they match a known false negative. `unsupported`: the API can't test this connection, its results are
    ignored. `auto`: known false negatives are recognised."""
    require_permissions: Items[Text] = ()
    """Permissions that a passed test must report, as the API spells them. Missing ones are notified as `permissions.lost`."""
    _place: str = PrivateAttr("")

    @model_validator(mode="before")
    @classmethod
    def _bare_id(cls, data: Any) -> Any:
        return {"id": data} if isinstance(data, str) else data

    @model_validator(mode="after")
    def _one_target(self) -> "ConnectionSettings":
        given = self.model_fields_set
        if ("id" in given) == (self.match is not None):
            message = "has both id and match" if self.match is not None else "needs id or match"
            raise problem(message, "id names one connection, match: {platform: linkedin} selects several")
        misplaced = sorted(given & {"account", "user_id"}) if self.match is not None else []
        if misplaced:
            raise problem(f"has {misplaced[0]} beside match", f"write match: {{{misplaced[0]}: ...}}")
        return self

    def entry(self, match: Mapping[str, str]) -> ConnectionEntry:
        """The entry as a value of the domain; *match* are the matchers of its selector."""
        given = self.model_fields_set
        return ConnectionEntry(
            self._place,
            match,
            self.name,
            self.labels,
            self.interval,
            self.expect if "expect" in given else None,
            self.require_permissions if "require_permissions" in given else None,
        )

    def placed(self, place: str, **update: Any) -> "ConnectionSettings":
        """A copy that knows its file and line, and with other values."""
        copy = self.model_copy(update=update)
        copy._place = place  # noqa: SLF001 - its own copy
        return copy

    @property
    def platform(self) -> str:
        """The platform, from the id."""
        return platform_of(self.id)

    @property
    def key(self) -> tuple[str, str, str]:
        """Account, managed user ("" for the owner) and id, which identify a connection."""
        return (self.account, self.user_id, self.id)


class ScheduleSettings(Section):
    """How often checks and discovery run."""

    interval: Annotated[Duration, between(timedelta(seconds=1), timedelta(days=7))] = timedelta(minutes=15)
    """Pause between two checks of one connection. Every check makes the API call the platform with the customer's token, so mind the
    platforms' own limits: use at least 5m; below 1m there is a warning."""
    recheck: Annotated[Duration, between(timedelta(milliseconds=100), timedelta(hours=1))] = timedelta(seconds=45)
    """Pause before a contrary result is checked again. Observations confirm each other only if they are two thirds of it apart."""
    discovery: Annotated[Duration, between(timedelta(seconds=1), timedelta(days=7))] = timedelta(hours=1)
    """Pause between two requests of the list of connections, which also has exact expiry dates."""
    fast_path: Switch = True
    """Whether a check that tells nothing new is evaluated the short way, which comes to the same result. Off only to look for a fault."""


class DatabaseSettings(Section):
    """Where the data is stored."""

    url: Secret = Secret("sqlite:////var/lib/postpost-monitor/monitor.db")
    """`sqlite:///` and a path (four slashes in all before an absolute one), or `postgresql://user:password@host/name`, also with several hosts
    (`one:5432,two:5432`). Treated as a secret, since it may contain a password. SQLite needs a local disk."""
    url_file: str | None = None
    """File that contains the URL, instead of `url`."""


class ClusterSettings(Section):
    """Further instances on the same PostgreSQL database, which take over, or share the work."""

    mode: Literal["standby", "shared"]
    """`standby`: an instance that finds another one active waits, serves its pages meanwhile, and takes over when that one is gone.
    `shared`: all instances work, each for some of the accounts and receivers; needs the extra `cluster`."""
    lease: Annotated[Duration, between(timedelta(seconds=5), timedelta(minutes=5))] = timedelta(seconds=15)
    """After so long without renewing its lease the active instance counts as gone, such as when its machine or network failed. When only its
    process ends, another one takes over at once with `standby`."""
    node: Name | None = None
    """With `shared`: the name of this node; otherwise that of the host and the port of `web.listen`, such as `alpha-9840`."""
    url: Annotated[str, AfterValidator(check_page_url)] = ""
    """With `shared`: address at which the other nodes reach the web port of this one, such as `http://10.0.0.7:9840`. A node that can't
    write asks them whether they can before it notifies that the database takes no writes."""
    turn: Annotated[Duration, between(timedelta(minutes=1), timedelta(hours=1))] = timedelta(minutes=5)
    """With `shared`: how long a node keeps an account or receiver once its configuration is no longer that of the cluster."""
    weight: RateLimit = 1.0
    """With `shared`: how much work this node takes compared with the others; 0: it only serves pages."""


class WebSettings(Section):
    """The port for metrics, the status page and JSON. It is read-only unless `actions` is on."""

    listen: Annotated[str, AfterValidator(_check_listen)] = "127.0.0.1:9840"
    """Address and port. Other addresses than loopback need a password or a token, and should have TLS: the page shows your accounts."""
    insecure_listen: Switch = False
    """Accepts a port that is open to the network without a password, or without TLS. For container networks and behind proxies."""
    config_file: str | None = None
    """File with TLS, users and their hashed passwords, in the form of the Prometheus exporter toolkit; see
    [the file of `web.config_file`](#the-file-of-webconfig_file). Its certificate is reloaded when it changes."""
    allowed_hosts: Items[str] = ()
    """Host names that requests may use in addition to the port's own address; protects browsers against DNS rebinding. Empty on a
    non-loopback address: any."""
    external_url: Annotated[str, AfterValidator(check_page_url)] = ""
    """Address at which people reach this port, such as `https://monitor.example.org`. Notifications link to the page of their connection."""
    status_page: Switch = True
    """Whether the status page, the JSON API and badges are served; metrics and health always are."""
    actions: Switch = False
    """Whether operators may test, acknowledge and silence on the status page and through the API. Needs a `token` or users in `config_file`: their
    names are the authors."""
    lifecycle: Switch = False
    """Whether `POST /-/reload` reloads the configuration, as SIGHUP does. Needs a `token` or users in `config_file`."""
    token: Secret | None = None
    """Bearer token for everything except the health of the port, in addition to the users of `config_file`. In browsers: the password of any
    username."""
    token_file: str | None = None
    """File that contains the token."""

    @property
    def host(self) -> str:
        """The address to listen on."""
        return parse_listen(self.listen)[0]

    @property
    def port(self) -> int:
        """The port to listen on; 0 lets the system choose."""
        return parse_listen(self.listen)[1]


class RetentionSettings(Section):
    """How long history is kept. Pending deliveries are never deleted."""

    checks: Annotated[Duration, between(timedelta(hours=1))] = timedelta(days=90)
    """Single check results, about 60 bytes each. Those of the last three days are always kept. PostgreSQL drops whole days (UTC), so up
    to a day later."""
    hourly: Annotated[Duration, between(timedelta(days=32))] = timedelta(days=35)
    """Hourly uptime, about 25 bytes per connection and hour."""
    daily: Annotated[Duration, between(timedelta(days=92))] = timedelta(days=730)
    """Daily uptime."""
    incidents: Annotated[Duration, between(timedelta(days=1))] = timedelta(days=730)
    """Closed incidents."""
    max_size: Size | None = None
    """Above this size of the database, such as `2GB`, the oldest single check results are deleted early, and nothing else. Those of the
    last three days stay; for PostgreSQL the size is estimated, and whole days are dropped."""
    deliveries: Annotated[Duration, between(timedelta(hours=1))] = timedelta(days=30)
    """Delivered notifications, with every attempt."""
    dead_deliveries: Annotated[Duration, between(timedelta(hours=1))] = timedelta(days=90)
    """Abandoned and cancelled notifications; until then `deliveries retry` can send them."""


class LoggingSettings(Section):
    """The log on stderr. One line per change, not per check; it contains no secrets."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Minimum level."""
    format: Literal["auto", "json", "console"] = "auto"
    """`auto`: `console` on a terminal, else `json`."""


class ShutdownSettings(Section):
    """How the monitor stops."""

    drain: Annotated[Duration, between(timedelta(0), timedelta(minutes=10))] = timedelta(seconds=20)
    """Time for running work to finish. Less than `TimeoutStopSec` of the service (45s); unfinished work is done after the next
    start."""
