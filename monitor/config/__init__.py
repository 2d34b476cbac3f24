"""The configuration: YAML and environment in, one immutable `Config` or every problem at once out."""

from monitor.config.loader import default_config, load, load_policy, watched_files
from monitor.config.model import Config
from monitor.config.secret_files import read_database_url
from monitor.config.secrets import Secret, SecretProblem
from monitor.config.sections.controls import HeartbeatSettings
from monitor.config.sections.core import (
    AccountSettings,
    ApiSettings,
    Brand,
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
from monitor.config.sections.policy import PolicySettings
from monitor.config.sections.receivers import ReceiverSettings, RouteSettings
from monitor.config.web_config import ServerTls, TlsServerSettings, WebConfig

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
    "ServerTls",
    "ShutdownSettings",
    "TlsServerSettings",
    "UserSettings",
    "WebConfig",
    "WebSettings",
    "default_config",
    "load",
    "load_policy",
    "read_database_url",
    "watched_files",
]
