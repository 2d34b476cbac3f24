"""The edge where the configuration enters: YAML and environment in, one frozen `Config` or every problem at once out."""

from monitor.config.brands import Brand
from monitor.config.controls import HeartbeatSettings
from monitor.config.loader import default_config, load, load_policy
from monitor.config.model import Config
from monitor.config.policies import PolicySettings
from monitor.config.receivers import ReceiverSettings, RouteSettings
from monitor.config.secrets import Secret, SecretProblem
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
from monitor.config.tls import server_context, stamp_of
from monitor.config.webfile import TlsServerSettings, WebFile

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
    "SecretProblem",
    "ShutdownSettings",
    "TlsServerSettings",
    "WebFile",
    "WebSettings",
    "default_config",
    "load",
    "load_policy",
    "server_context",
    "stamp_of",
]
