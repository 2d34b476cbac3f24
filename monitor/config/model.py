"""The whole configuration as one immutable value."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from pydantic import BaseModel, Field
from pydantic.json_schema import SkipJsonSchema

from monitor.config.platform_texts import platform_texts_of
from monitor.config.secrets import Secret
from monitor.config.sections.controls import HeartbeatSettings, QuietHoursSettings, SilenceSettings, windows_of
from monitor.config.sections.core import (
    AccountSettings,
    ApiSettings,
    ClusterSettings,
    ConnectionSettings,
    DatabaseSettings,
    LoggingSettings,
    MonitorSettings,
    RetentionSettings,
    ScheduleSettings,
    ShutdownSettings,
    UserSettings,
    WebSettings,
)
from monitor.config.sections.policy import PolicySettings, policy_of
from monitor.config.sections.receivers import ReceiverSettings, RouteSettings
from monitor.config.types import Items, Section
from monitor.config.web_config import WebConfig
from monitor.domain.policy import Policy
from monitor.domain.replies.platform_texts import PlatformTexts
from monitor.domain.routing.connection_entries import ConnectionEntries, User
from monitor.domain.routing.names import Aliases, resolved
from monitor.domain.silencing.silences import RecurringSilence
from monitor.errors import Problem


class Config(Section):
    """
    A configuration of postpost-monitor, checked as a whole by `load`.

    Attributes:
        warnings: what works but is probably not meant, in the order of the file.
        source: the file it came from, or what took its place.
        drop_ins: the files of `config.d` that gave something to it.
    """

    monitor: MonitorSettings = Field(default_factory=MonitorSettings.defaults)
    """How this monitor identifies itself."""
    api: ApiSettings = Field(default_factory=ApiSettings.defaults)
    """The watched API."""
    accounts: Items[AccountSettings] = ()
    """API keys; at least one."""
    connections: Items[ConnectionSettings] = ()
    """Connections named in the file, which discovered ones need not be, and selectors for what discovered ones are given."""
    users: Items[UserSettings] = ()
    """Names and labels of managed users."""
    schedule: ScheduleSettings = Field(default_factory=ScheduleSettings.defaults)
    """How often checks and discovery run."""
    policy_settings: PolicySettings = Field(default_factory=PolicySettings.defaults, alias="policy")
    """When notifications are sent."""
    receivers: Items[ReceiverSettings] = ()
    """Destinations of notifications."""
    routes: Items[RouteSettings] = ()
    """Which receivers get which notifications: the first match wins; without routes every receiver gets all of them."""
    silences: Items[SilenceSettings] = ()
    """Notifications that are suppressed at certain times of every day or week; checks continue."""
    quiet_hours: QuietHoursSettings = Field(default_factory=QuietHoursSettings.defaults)
    """When only urgent notifications are sent."""
    heartbeat: HeartbeatSettings = Field(default_factory=HeartbeatSettings.defaults)
    """Requests to an outside monitor while everything works."""
    database: DatabaseSettings = Field(default_factory=DatabaseSettings.defaults)
    """Where the data is stored."""
    cluster: ClusterSettings | None = None
    """Further instances on the same database; without it every instance needs a database of its own."""
    web: WebSettings = Field(default_factory=WebSettings.defaults)
    """The port for metrics and the status page."""
    retention: RetentionSettings = Field(default_factory=RetentionSettings.defaults)
    """How long history is kept."""
    logging: LoggingSettings = Field(default_factory=LoggingSettings.defaults)
    """The log on stderr."""
    shutdown: ShutdownSettings = Field(default_factory=ShutdownSettings.defaults)
    """How the monitor stops."""
    warnings: SkipJsonSchema[Items[Problem]] = Field(default=(), exclude=True)
    web_file: SkipJsonSchema[WebConfig] = Field(default_factory=WebConfig.defaults, exclude=True)
    source: SkipJsonSchema[str] = Field(default="", exclude=True)
    files: SkipJsonSchema[Items[str]] = Field(default=(), exclude=True)
    drop_ins: SkipJsonSchema[Items[str]] = Field(default=(), exclude=True)

    def secrets(self) -> tuple[str, ...]:
        """Every secret of the configuration, for redaction."""
        return tuple(secret.reveal() for secret in _secrets_in(self))

    def windows(self) -> tuple[RecurringSilence, ...]:
        """The recurring silences and quiet hours of the domain."""
        aliases = self.aliases()
        return tuple(replace(window, match=resolved(window.match, aliases)) for window in windows_of(self.silences, self.quiet_hours))

    def named_connections(self) -> tuple[ConnectionSettings, ...]:
        """The connections that the configuration names by their id; the other entries are selectors."""
        return tuple(connection for connection in self.connections if connection.match is None)

    def entries(self) -> ConnectionEntries:
        """The entries of `connections` and `users`, for looking up what they make of a connection."""
        aliases = self.aliases()
        return ConnectionEntries(
            {connection.key: connection.entry({}) for connection in self.named_connections()},
            [item.entry(resolved(item.match.matchers(), aliases)) for item in self.connections if item.match is not None],
            {user.id: User(user.id, user.name, user.labels) for user in self.users},
            self.schedule.interval,
        )

    def aliases(self) -> Aliases:
        """The names of users and connections that matchers take in place of ids."""
        connections: dict[str, tuple[str, ...]] = {}
        for connection in self.named_connections():
            if connection.name is not None:
                connections[connection.name] = (*connections.get(connection.name, ()), connection.id)
        return {"user": {user.name: (user.id,) for user in self.users}, "connection": connections}

    def policy(self) -> Policy:
        """The policy of the domain."""
        aliases = self.aliases()
        routes = (route.route() for route in self.routes)
        named = tuple(replace(route, match=resolved(route.match, aliases)) for route in routes)
        return policy_of(self.policy_settings, self.schedule, named)

    def platform_texts(self) -> PlatformTexts:
        """What the error texts of the platforms mean: the entries of the file first, then the built-in ones."""
        return platform_texts_of(self.policy_settings)


def _secrets_in(value: object) -> Iterator[Secret]:
    if isinstance(value, Secret):
        yield value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _secrets_in(getattr(value, name))
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _secrets_in(item)
    elif isinstance(value, tuple):
        for item in value:
            yield from _secrets_in(item)
