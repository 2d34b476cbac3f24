"""The whole configuration as one immutable value."""

from collections.abc import Iterator, Mapping

from pydantic import BaseModel, Field
from pydantic.json_schema import SkipJsonSchema

from monitor.config.secrets import Secret
from monitor.config.sections.controls import HeartbeatSettings, QuietHoursSettings, SilenceSettings, windows_of
from monitor.config.sections.core import (
    AccountSettings,
    ApiSettings,
    ConnectionSettings,
    DatabaseSettings,
    LoggingSettings,
    MonitorSettings,
    RetentionSettings,
    ScheduleSettings,
    ShutdownSettings,
    WebSettings,
)
from monitor.config.sections.policy import PolicySettings, policy_of
from monitor.config.sections.receivers import ReceiverSettings, RouteSettings
from monitor.config.types import Items, Section
from monitor.config.web_config import WebConfig
from monitor.domain.policy import Policy
from monitor.domain.silencing.silences import RecurringSilence
from monitor.errors import Problem


class Config(Section):
    """
    A configuration of postpost-monitor, checked as a whole by `load`.

    Attributes:
        warnings: what works but is probably not meant, in the order of the file.
        web_file: what the file of `web.config_file` says.
        source: the file it came from, or what stood in for one.
    """

    monitor: MonitorSettings = MonitorSettings()
    """What this monitor calls itself."""
    api: ApiSettings = ApiSettings()
    """The watched API."""
    accounts: Items[AccountSettings] = ()
    """API keys; at least one."""
    connections: Items[ConnectionSettings] = ()
    """Connections named in the file; discovered ones need not be."""
    schedule: ScheduleSettings = ScheduleSettings()
    """How often things are looked at."""
    policy_settings: PolicySettings = Field(default=PolicySettings(), alias="policy")
    """When somebody is told."""
    receivers: Items[ReceiverSettings] = ()
    """Who is told."""
    routes: Items[RouteSettings] = ()
    """Who is told what: the first match wins; without routes everybody is told everything."""
    silences: Items[SilenceSettings] = ()
    """What is not told at certain times of every day or week; checks go on."""
    quiet_hours: QuietHoursSettings = QuietHoursSettings()
    """When only what is urgent is told."""
    heartbeat: HeartbeatSettings = HeartbeatSettings()
    """A sign of life for somebody outside."""
    database: DatabaseSettings = DatabaseSettings()
    """Where everything is kept."""
    web: WebSettings = WebSettings()
    """The port for metrics and the status page."""
    retention: RetentionSettings = RetentionSettings()
    """How long the past is kept."""
    logging: LoggingSettings = LoggingSettings()
    """What goes to stderr."""
    shutdown: ShutdownSettings = ShutdownSettings()
    """How the monitor stops."""
    warnings: SkipJsonSchema[Items[Problem]] = Field(default=(), exclude=True)
    web_file: SkipJsonSchema[WebConfig] = Field(default=WebConfig(), exclude=True)
    source: SkipJsonSchema[str] = Field(default="", exclude=True)

    def secrets(self) -> tuple[str, ...]:
        """Every secret of the configuration, for those who must recognise one in a text."""
        return tuple(secret.reveal() for secret in _secrets_in(self))

    def windows(self) -> tuple[RecurringSilence, ...]:
        """The recurring silences and quiet hours that the domain works with."""
        return windows_of(self.silences, self.quiet_hours)

    def policy(self) -> Policy:
        """The policy that the domain works with."""
        return policy_of(self.policy_settings, self.schedule)


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
