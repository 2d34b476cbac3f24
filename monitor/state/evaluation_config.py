"""What a configuration means for evaluating and notifying."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self
from urllib.parse import urlsplit

from monitor import __version__
from monitor.config import Config
from monitor.domain.engine import EngineConfig
from monitor.domain.replies.verdicts import DEFAULT_FALSE_NEGATIVES, FalseNegativeRule
from monitor.domain.routes import Route
from monitor.domain.routing.names import resolved
from monitor.domain.routing.rules import ReceiverRule
from monitor.errors import Reason
from monitor.notify.identity import MonitorIdentity

_CHATS = frozenset({"slack", "discord", "teams", "apprise"})
"""Types of receivers that people read, and that keep no incidents."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationConfig(EngineConfig):
    """
    What the configuration asks for, as far as evaluating and notifying need it. A reload replaces it as a whole.

    Attributes:
        discovering: the accounts whose connections are discovered.
        selectors: the matchers of the selectors of `connections`, each with its place.
        route_places: file and line of each route.
        requests_per_second: how many requests each account may send.
    """

    identity: MonitorIdentity
    discovering: frozenset[str] = frozenset()
    users: Mapping[str, str] = field(default_factory=dict)
    selectors: tuple[tuple[str, Mapping[str, str]], ...] = ()
    route_places: tuple[str, ...] = ()
    requests_per_second: float = 5.0

    @property
    def routes(self) -> tuple[Route, ...]:
        """Which receivers a notification goes to, and when."""
        return self.policy.routes

    def matches(self) -> Iterator[tuple[str, Mapping[str, str]]]:
        """The matchers of every route, recurring silence and selector, with its place in the file."""
        for number, route in enumerate(self.routes):
            yield f"routes ({self.route_places[number]})" if self.route_places else f"routes[{number}]", route.match
        for silence in self.recurring_silences:
            yield f"silences {silence.name}", silence.match
        for place, match in self.selectors:
            yield f"connections ({place})", match

    def with_names(self, names: Mapping[str, Sequence[str]]) -> Self:
        """The same with ids in place of these *names* of connections in routes and recurring silences; the keys of routes stay."""
        aliases = {"connection": names}
        routes = tuple(replace(route, match=resolved(route.match, aliases), written=route.match) for route in self.routes)
        silences = tuple(replace(silence, match=resolved(silence.match, aliases)) for silence in self.recurring_silences)
        return replace(self, policy=replace(self.policy, routes=routes), recurring_silences=silences)

    @classmethod
    def from_config(cls, config: Config, instance_id: str) -> "EvaluationConfig":
        """What *config* means; *instance_id* is the database's own name, used unless the configuration gives one."""
        names = {user.id: user.name for user in config.users}
        return cls(
            policy=config.policy(),
            api_host=urlsplit(config.api.base_url).netloc,
            identity=_identity(config, instance_id, names),
            users=names,
            user_labels={user.id: user.labels for user in config.users if user.labels},
            selectors=tuple((entry.place, entry.match) for entry in config.entries().selectors),
            route_places=tuple(route.place for route in config.routes if route.place),
            requests_per_second=config.api.requests_per_second,
            receivers=tuple(ReceiverRule(one.name, one.send_resolved, one.type not in _CHATS) for one in config.receivers),
            discovering=frozenset(account.name for account in config.accounts if account.discover != "off"),
            accounts=tuple(account.name for account in config.accounts),
            false_negatives=_false_negatives(config),
            platform_texts=config.platform_texts(),
            recurring_silences=config.windows(),
            fast_path=config.schedule.fast_path,
        )


def _identity(config: Config, instance_id: str, users: Mapping[str, str]) -> MonitorIdentity:
    own = config.monitor
    return MonitorIdentity(own.instance or instance_id, __version__, own.dashboard_url, own.runbook_url, config.web.external_url, users)


def _false_negatives(config: Config) -> tuple[FalseNegativeRule, ...]:
    """Answers known to be wrong: those of the file first, then the built-in ones."""
    given = config.policy_settings.known_false_negatives
    own = (FalseNegativeRule(rule.platform, rule.id, rule.message, Reason.KNOWN_FALSE_NEGATIVE) for rule in given)
    return (*own, *DEFAULT_FALSE_NEGATIVES)
