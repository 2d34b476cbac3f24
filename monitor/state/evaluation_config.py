"""What a configuration means for evaluating and notifying."""

from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlsplit

from monitor import __version__
from monitor.config import Config
from monitor.domain.policy import Policy
from monitor.domain.routing import ReceiverRule, Route
from monitor.domain.silencing.silences import RecurringSilence
from monitor.domain.verdicts import DEFAULT_FALSE_NEGATIVES, FalseNegativeRule
from monitor.errors import Reason
from monitor.notify.payload import MonitorIdentity


@dataclass(frozen=True, slots=True)
class EvaluationConfig:
    """
    What the configuration asks for, as far as deciding and telling need it. A reload swaps it as a whole.

    Attributes:
        api_host: names the API scope.
        interval: the ordinary pause between checks, for the window of the API scope.
        routes, receivers: who is told what; without routes, everybody everything.
        identity: who we are, for bodies and incident keys.
        lies: answers known to be wrong.
        windows: recurring silences and quiet hours.
    """

    policy: Policy
    api_host: str
    interval: timedelta
    identity: MonitorIdentity
    routes: tuple[Route, ...] = ()
    receivers: tuple[ReceiverRule, ...] = ()
    accounts: tuple[str, ...] = ()
    false_negatives: tuple[FalseNegativeRule, ...] = DEFAULT_FALSE_NEGATIVES
    recurring_silences: tuple[RecurringSilence, ...] = ()


def evaluation_config(config: Config, instance_id: str) -> EvaluationConfig:
    """The plan that *config* asks for; *instance_id* is the database's own name, used unless the configuration gives one."""
    return EvaluationConfig(
        policy=config.policy(),
        api_host=urlsplit(config.api.base_url).netloc,
        interval=config.schedule.interval,
        identity=MonitorIdentity(config.monitor.instance or instance_id, __version__, config.monitor.dashboard_url),
        routes=tuple(Route(route.match, route.receivers) for route in config.routes),
        receivers=tuple(ReceiverRule(receiver.name, receiver.send_resolved) for receiver in config.receivers),
        accounts=tuple(account.name for account in config.accounts),
        false_negatives=_lies(config),
        recurring_silences=config.windows(),
    )


def _lies(config: Config) -> tuple[FalseNegativeRule, ...]:
    """Answers known to be wrong: those of the file first, then the built-in ones."""
    given = config.policy_settings.known_false_negatives
    return (
        tuple(FalseNegativeRule(one.platform, one.id, one.message, Reason.KNOWN_FALSE_NEGATIVE) for one in given) + DEFAULT_FALSE_NEGATIVES
    )
