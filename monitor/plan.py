"""What the configuration means for deciding and telling."""

from urllib.parse import urlsplit

from monitor import __version__
from monitor.config import Config
from monitor.domain.lies import DEFAULT_LIES, KnownLie
from monitor.domain.payloads import MonitorIdentity
from monitor.domain.routes import ReceiverRule, Route
from monitor.errors import Reason
from monitor.fleet import Plan


def plan_of(config: Config, instance_id: str) -> Plan:
    """The plan that *config* asks for; *instance_id* is the database's own name, used unless the configuration gives one."""
    return Plan(
        policy=config.policy(),
        api_host=urlsplit(config.api.base_url).netloc,
        interval=config.schedule.interval,
        identity=MonitorIdentity(config.monitor.instance or instance_id, __version__, config.monitor.dashboard_url),
        routes=tuple(Route(route.match, route.receivers) for route in config.routes),
        receivers=tuple(ReceiverRule(receiver.name, receiver.send_resolved) for receiver in config.receivers),
        accounts=tuple(account.name for account in config.accounts),
        lies=_lies(config),
        windows=config.windows(),
    )


def _lies(config: Config) -> tuple[KnownLie, ...]:
    """Answers known to be wrong: those of the file first, then the built-in ones."""
    given = config.policy_settings.known_false_negatives
    return tuple(KnownLie(one.platform, one.id, one.message, Reason.KNOWN_FALSE_NEGATIVE) for one in given) + DEFAULT_LIES
