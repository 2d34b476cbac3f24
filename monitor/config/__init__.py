"""The edge where the configuration enters: YAML and environment in, one frozen `Config` or every problem at once out."""

from monitor.config.brands import Brand
from monitor.config.controls import HeartbeatSettings
from monitor.config.loader import default_config, load
from monitor.config.model import Config
from monitor.config.policies import PolicySettings
from monitor.config.receivers import ReceiverSettings, RouteSettings
from monitor.config.secrets import Secret
from monitor.config.sections import (
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

__all__ = [
    "AccountSettings",
    "ApiSettings",
    "Brand",
    "Config",
    "ConnectionSettings",
    "DatabaseSettings",
    "HeartbeatSettings",
    "LoggingSettings",
    "MonitorSettings",
    "PolicySettings",
    "ReceiverSettings",
    "RetentionSettings",
    "RouteSettings",
    "ScheduleSettings",
    "Secret",
    "ShutdownSettings",
    "WebSettings",
    "default_config",
    "load",
]
