"""Cross-section validation: references, duplicates, inconsistent intervals."""

import re
import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from urllib.parse import SplitResult, urlsplit

from monitor.config import matchers
from monitor.config.matchers import Warn
from monitor.config.model import Config
from monitor.config.problems import nearest, suggest
from monitor.config.sections.controls import QuietHoursSettings, SilenceSettings, time_problem
from monitor.config.sections.core import (
    AccountSettings,
    ApiSettings,
    ClusterSettings,
    ConnectionSettings,
    DatabaseSettings,
    MonitorSettings,
    ScheduleSettings,
    ShutdownSettings,
    UserSettings,
    WebSettings,
)
from monitor.config.sections.policy import KNOWN_PERMISSIONS, KNOWN_PLATFORMS, PolicySettings, policy_of
from monitor.config.sections.receivers import ReceiverSettings, RouteSettings
from monitor.config.types import split
from monitor.config.validation import Draft
from monitor.config.yaml import Path, dotted
from monitor.domain.load import account_loads
from monitor.domain.policy import Policy
from monitor.domain.routing import rules as routing
from monitor.domain.routing.rules import RESERVED
from monitor.errors import Problem
from monitor.extras import missing
from monitor.http.addresses import is_loopback
from monitor.text.durations import format_duration

_STOP_TIMEOUT = timedelta(seconds=45)
_OWN_HEADERS = frozenset({"content-type", "content-length", "content-encoding", "transfer-encoding", "host", "connection", "user-agent"})
_HEADERS = ("Authorization", "Proxy-Authorization", "Accept", "Cookie", "X-Api-Key", "X-Auth-Token")
"""Headers that receivers ask for; others are allowed."""
_SIMILAR = 0.85
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_KEYS = {"pagerduty": "routing_key", "opsgenie": "api_key"}
_PUBLIC_TYPES = frozenset({"slack", "discord", "teams", "pagerduty", "opsgenie"})

_RETIRED = r"(^|\.)(webhook\.office\.com|outlook\.office(365)?\.com)$"
_HOSTS = {
    "slack": r"^hooks\.slack(-gov)?\.com$",
    "discord": r"(^|\.)discord(app)?\.com$",
    "teams": r"\.(logic\.azure\.com|environment\.api\.powerplatform\.com)$",
    "pagerduty": r"^events(\.eu)?\.pagerduty\.com$",
    "opsgenie": r"^api(\.eu)?\.opsgenie\.com$",
}
"""Type of receiver -> the hosts of its service."""
_HOST_NAMES = {
    "slack": "hooks.slack.com",
    "discord": "discord.com",
    "pagerduty": "events.pagerduty.com",
    "opsgenie": "api.opsgenie.com",
}
_OF_APPRISE = {
    "Google Chat": (r"^chat\.googleapis\.com$", "gchat://WORKSPACE/KEY/TOKEN"),
    "ntfy": (r"^ntfy\.sh$", "ntfys://ntfy.sh/TOPIC"),
}
"""Service without a type of its own -> its hosts, and its address for type `apprise`."""
_PORT_OF_PROMETHEUS = 9090
_NEARLY = 0.9

CheckTemplate = Callable[[ReceiverSettings, Callable[[str, Sequence[str]], str | None]], Iterable[tuple[str, str, str]]]
"""The problems of a receiver's templates and address: the key, what is wrong, and what to do."""


def check(draft: Draft, check_template: CheckTemplate) -> list[Problem]:
    """Add the problems between sections to *draft*; returns the warnings: what works but is probably not meant."""
    warnings: list[Problem] = []

    def warn(path: Path, message: str, fix: str = "") -> None:
        warnings.append(Problem(draft.document.location(path), message, fix))

    receivers = partial(_receivers, check_template=check_template)
    for step in (_accounts, _connections, _users, receivers, _routes, _silences, _times, _schedule, _places):
        step(draft, warn)
    return warnings


def _duplicates(draft: Draft, name: str, what: str) -> None:
    first: dict[str, int] = {}
    for index, item in draft.document.items(name):
        own = item.get("name")
        if not isinstance(own, str):
            continue
        if own in first:
            place = draft.document.relative((name, first[own]), (name, index))
            draft.refuse((name, index, "name"), f"duplicate {what} name {own} (first on {place})", "give it another name")
        first.setdefault(own, index)


def _accounts(draft: Draft, warn: Warn) -> None:
    _duplicates(draft, "accounts", "account")
    if not draft.document.at(("accounts",)):
        draft.refuse(("accounts",), "no account is configured", "add accounts: with a name and an api_key_file")
    used = {connection.account for connection in draft.listed(ConnectionSettings, "connections").values()}
    for index, account in draft.listed(AccountSettings, "accounts").items():
        if account.discover == "off" and account.name not in used:
            warn(("accounts", index), f"account {account.name} has no connections", "list its connections, or remove discover: off")


def _connections(draft: Draft, warn: Warn) -> None:
    names = draft.names("accounts")
    for index, item in draft.document.items("connections"):
        account = item.get("account")
        if names and isinstance(account, str) and account not in names:
            draft.refuse(("connections", index, "account"), f"unknown account {account}", suggest(account, names, "accounts"))
    first: dict[tuple[str, str, str], int] = {}
    for index, connection in draft.listed(ConnectionSettings, "connections").items():
        path: Path = ("connections", index)
        _labels(draft, connection.labels, path)
        for position, name in enumerate(connection.require_permissions):
            _spelling(warn, (*path, "require_permissions", position), "permission", name, KNOWN_PERMISSIONS)
        if connection.match is not None:
            matchers.check_selector(draft, warn, connection.match, path)
            continue
        key = (connection.account, connection.user_id, connection.platform + connection.id[len(connection.platform) :])
        if key in first:
            place = draft.document.relative(("connections", first[key]), path)
            draft.refuse(path, f"{connection.id} is listed twice in account {connection.account} (first on {place})", "remove one")
        first.setdefault(key, index)
        _spelling(warn, (*path, "id"), "platform", connection.platform, KNOWN_PLATFORMS)
        if not connection.id.startswith(connection.platform):
            message = f"{connection.id} starts with upper case; the API lists ids in lower case"
            warn((*path, "id"), message, "copy the id from the list of connections")


def _labels(draft: Draft, labels: Iterable[str], path: Path) -> None:
    for label in labels:
        if label in RESERVED:
            draft.refuse((*path, "labels", label), f"the label {label} has the name of a built-in matcher", "choose another name")


def _spelling(warn: Warn, path: Path, what: str, given: str, known: Iterable[str]) -> None:
    """Warn of a word of an open set that is nearly one of the *known* ones."""
    close = nearest(given, sorted(known), cutoff=_SIMILAR)
    if close is not None and close.lower() != given.lower():
        warn(path, f"{given} is not a known {what}", f"did you mean {close}?")


def _users(draft: Draft, warn: Warn) -> None:  # noqa: ARG001 - the signature of every step
    _duplicates(draft, "users", "user")
    first: dict[str, int] = {}
    for index, user in draft.listed(UserSettings, "users").items():
        path: Path = ("users", index)
        if user.id in first:
            place = draft.document.relative(("users", first[user.id]), path)
            draft.refuse((*path, "id"), f"user {user.id} is listed twice (first on {place})", "remove one")
        first.setdefault(user.id, index)
        _labels(draft, user.labels, path)


def _receivers(draft: Draft, warn: Warn, *, check_template: CheckTemplate) -> None:
    _duplicates(draft, "receivers", "receiver")
    if not draft.document.at(("receivers",)):
        warn(("receivers",), "no receiver is configured: no notifications are sent", "add receivers: with a name and a url_file")
    for index, receiver in draft.listed(ReceiverSettings, "receivers").items():
        _receiver(draft, warn, receiver, ("receivers", index), check_template)


def _templated(receiver: ReceiverSettings) -> bool:
    """Whether there is something to check in it."""
    return receiver.type == "apprise" or any(text is not None for text in (receiver.template, receiver.title, receiver.text))


def _receiver(draft: Draft, warn: Warn, receiver: ReceiverSettings, path: Path, check_template: CheckTemplate) -> None:
    needed = _KEYS.get(receiver.type)
    if needed and getattr(receiver, needed) is None:
        draft.refuse(path, f"receiver {receiver.name} of type {receiver.type} needs {needed} or {needed}_file", f"add {needed}_file")
    for kind, key in _KEYS.items():
        if getattr(receiver, key) is not None and receiver.type != kind:
            draft.refuse((*path, key), f"receiver {receiver.name}: {key} is for type {kind} only", "remove it, or correct the type")
    if receiver.secrets and receiver.type != "webhook":
        draft.refuse(path, f"receiver {receiver.name}: bodies of type {receiver.type} can't be signed", "remove the signing secret")
    if receiver.template is not None and receiver.type != "webhook":
        message = f"receiver {receiver.name}: template is for type webhook only"
        draft.refuse((*path, "template"), message, "remove it, and use title and text, or correct the type")
    else:
        for key, message, fix in check_template(receiver, nearest) if _templated(receiver) else ():
            draft.refuse((*path, key), f"receiver {receiver.name}: {message}", fix)
    _way(draft, warn, receiver, path)
    url = urlsplit(receiver.url.reveal())
    _service(draft, warn, receiver, url, (*path, "url"))
    _alertmanager(draft, warn, receiver, url, (*path, "url"))
    if url.scheme == "http" and receiver.type in _PUBLIC_TYPES and not is_loopback(url.hostname or ""):
        warn(path, f"notifications to receiver {receiver.name} are not encrypted", "use https://")


def _alertmanager(draft: Draft, warn: Warn, receiver: ReceiverSettings, url: SplitResult, path: Path) -> None:
    """Refuse the address of an Alertmanager in another type, and of its API that is no longer there; warn of that of a Prometheus."""
    url_path = url.path.rstrip("/")
    if receiver.type == "alertmanager" and url.port == _PORT_OF_PROMETHEUS:
        message = f"receiver {receiver.name}: {_PORT_OF_PROMETHEUS} is the usual port of Prometheus, which takes no alerts"
        warn(path, message, "write that of Alertmanager, usually 9093")
    if receiver.type == "webhook" and receiver.template is None and url_path.endswith(("/api/v1/alerts", "/api/v2/alerts")):
        message = f"receiver {receiver.name}: its URL is one of an Alertmanager, which does not take the form of type webhook"
        draft.refuse(path, message, "add type: alertmanager")
    if receiver.type == "alertmanager" and url_path.endswith("/api/v1/alerts"):
        message = f"receiver {receiver.name}: its URL ends in /api/v1/alerts, which Alertmanager no longer has"
        draft.refuse(path, message, "write /api/v2/alerts, or leave it out")


def _service(draft: Draft, warn: Warn, receiver: ReceiverSettings, url: SplitResult, path: Path) -> None:
    """Refuse the address of a service that takes another form of messages, or none any more."""
    host = (url.hostname or "").lower()
    if re.search(_RETIRED, host):
        message = f"receiver {receiver.name}: its URL is that of a connector of Microsoft 365, which Microsoft has switched off"
        fix = "add the workflow “Post to a channel when a webhook request is received” in Teams: type teams, its URL"
        draft.refuse(path, message, fix)
    kind = next((kind for kind, hosts in _HOSTS.items() if re.search(hosts, host)), None)
    if receiver.type != "apprise" and receiver.template is None and not _takes(receiver, kind, url.path):
        other = next(((name, address) for name, (hosts, address) in _OF_APPRISE.items() if re.search(hosts, host)), None)
        if kind is not None:
            _refuse_service(draft, receiver, path, kind.capitalize(), f"type: {kind}")
        elif other is not None:
            _refuse_service(draft, receiver, path, other[0], f"type: apprise, url: {other[1]}")
    if receiver.type == "apprise" and kind is not None:
        warn(path, f"receiver {receiver.name}: its URL is one of {kind.capitalize()}, which has its own type", f"write type: {kind}")
    own = _HOST_NAMES.get(receiver.type)
    if own is not None and kind != receiver.type and nearest(host, [own], cutoff=_NEARLY) is not None:
        draft.refuse(path, f"receiver {receiver.name}: {host} is not the host of {receiver.type.capitalize()}", f"did you mean {own}?")


def _takes(receiver: ReceiverSettings, kind: str | None, url_path: str) -> bool:
    """Whether the service of type *kind* takes what is sent to *receiver*: Discord has addresses that take the form of Slack."""
    return kind == receiver.type or (kind == "discord" and receiver.type == "slack" and url_path.rstrip("/").endswith("/slack"))


def _refuse_service(draft: Draft, receiver: ReceiverSettings, path: Path, service: str, fix: str) -> None:
    message = f"receiver {receiver.name}: its URL is one of {service}, which does not take the form of type {receiver.type}"
    draft.refuse(path, message, f"{'add' if receiver.type == 'webhook' else 'write'} {fix}")


def _way(draft: Draft, warn: Warn, receiver: ReceiverSettings, path: Path) -> None:
    """What lies between the monitor and the receiver."""
    if receiver.type == "apprise":
        _apprise(draft, receiver, path)
        return
    if receiver.ca_file is not None:
        _authorities(draft, receiver.ca_file, (*path, "ca_file"))
    if receiver.proxy is not None and receiver.deny_private:
        message = f"receiver {receiver.name}: with a proxy, deny_private can't be kept: the proxy looks the name up"
        draft.refuse((*path, "deny_private"), message, "remove it, and have the proxy refuse private addresses")
    for header, value in receiver.headers.items():
        _header(draft, header, value.reveal(), (*path, "headers", header))
        _spelling(warn, (*path, "headers", header), "header", header, _HEADERS)


def _apprise(draft: Draft, receiver: ReceiverSettings, path: Path) -> None:
    if advice := missing("apprise"):
        message = f"receiver {receiver.name} of type apprise needs the library Apprise, which is not installed"
        draft.refuse((*path, "type"), message, advice)
    given = {"proxy": receiver.proxy, "ca_file": receiver.ca_file, "headers": receiver.headers, "deny_private": receiver.deny_private}
    for key in (key for key, value in given.items() if value):
        message = f"receiver {receiver.name}: {key} can't be kept for type apprise, whose library makes its own connections"
        draft.refuse((*path, key), message, "remove it; docs/how-to/receivers.md says what the library follows instead")


def _authorities(draft: Draft, ca_file: str, path: Path) -> None:
    try:
        ssl.create_default_context(cafile=ca_file)
    except ssl.SSLError:
        draft.refuse(path, f"{dotted(path)}: there is no certificate in {ca_file}", "name a PEM file")
    except (OSError, ValueError) as error:
        draft.refuse(path, f"{dotted(path)}: {ca_file} can't be read: {getattr(error, 'strerror', '')}", "name a readable PEM file")


def _header(draft: Draft, name: str, value: str, path: Path) -> None:
    if not _TOKEN.fullmatch(name):
        draft.refuse(path, "a header has a name that HTTP does not allow", "use letters, digits and dashes")
    elif name.lower() in _OWN_HEADERS or name.lower().startswith("webhook-"):
        draft.refuse(path, f"the header {name} is set by the monitor itself", "remove it")
    elif not re.fullmatch(r"[\x20-\x7e]{1,4000}", value) or value != value.strip():
        message = f"the header {name} must be 1 to 4000 visible ASCII characters on one line"
        draft.refuse(path, message, "remove line breaks and outer blanks")


def _routes(draft: Draft, warn: Warn) -> None:
    receivers = draft.names("receivers")
    routed: set[str] = set()
    before: list[Mapping[str, str]] = []
    routes = draft.listed(RouteSettings, "routes")
    for index, route in routes.items():
        path: Path = ("routes", index)
        matchers.check(draft, warn, route.match, path, "routes")
        escalated = route.escalate.receivers if route.escalate is not None else ()
        for place, names in {("receivers",): route.receivers, ("escalate", "receivers"): escalated}.items():
            for position, name in enumerate(names):
                if name not in receivers:
                    draft.refuse((*path, *place, position), f"unknown receiver {name}", suggest(name, receivers, "receivers"))
        if routing.takes_everything(before):
            warn(path, "this route is never reached: earlier ones match everything", "move the route that matches everything to the end")
        before.append(route.match)
        routed.update((*route.receivers, *escalated))
    if routes and not any(route.receivers for route in routes.values()):
        warn(("routes",), "no route has a receiver: no notification is sent", "name one in receivers")
    if routes and not routing.takes_everything(before):
        message = "a notification that no route matches reaches no receiver"
        warn(("routes",), message, "end with a route without match; with receivers: [] it drops the rest on purpose")
    for index, receiver in draft.listed(ReceiverSettings, "receivers").items():
        if routes and receiver.name not in routed:
            warn(
                ("receivers", index),
                f"receiver {receiver.name} is in no route: it gets no notifications",
                "add it to a route, or remove it",
            )


def _silences(draft: Draft, warn: Warn) -> None:
    _duplicates(draft, "silences", "silence")
    silences = draft.listed(SilenceSettings, "silences")
    for index, silence in silences.items():
        matchers.check(draft, warn, silence.match, ("silences", index), "silences")
    sections: dict[Path, SilenceSettings | QuietHoursSettings] = {("silences", index): silence for index, silence in silences.items()}
    for index, route in draft.listed(RouteSettings, "routes").items():
        sections["routes", index, "quiet_hours"] = route.quiet_hours
    for path, section in {**sections, ("quiet_hours",): draft.section(QuietHoursSettings, "quiet_hours")}.items():
        wrong = time_problem(section)
        if wrong is not None:
            draft.refuse(path, f"{dotted(path)}: {wrong[0]}", wrong[1])
        elif isinstance(section, QuietHoursSettings) and _suppresses_all_critical(section):
            message = f"{dotted(path)} has no end: from {section.start} to {section.end}, daily: what is critical is never sent"
            draft.refuse(path, message, "shorten them; what is to be sent to no receiver has a route with receivers: []")


def _suppresses_all_critical(section: QuietHoursSettings) -> bool:
    window = section.window()
    return window is not None and window.when.lasts_all_week and "critical" in section.severities


def _policy(draft: Draft) -> Policy:
    return policy_of(draft.section(PolicySettings, "policy"), draft.section(ScheduleSettings, "schedule"))


def _times(draft: Draft, warn: Warn) -> None:
    policy = _policy(draft)
    if policy.scopes.close_ratio >= policy.scopes.ratio:
        message = "policy.scopes.close_ratio must be less than ratio"
        draft.refuse(("policy", "scopes"), message, "otherwise incidents open and close at once")
    if policy.retry.slow_after > policy.retry.give_up_after:
        message = "policy.retry.slow_after must not be longer than give_up_after"
        draft.refuse(("policy", "retry"), message, "raise give_up_after or shorten slow_after")
    drain = draft.section(ShutdownSettings, "shutdown").drain
    if drain >= _STOP_TIMEOUT:
        message = (
            f"shutdown.drain ({format_duration(drain)}) is not less than the service's TimeoutStopSec (45s): systemd would kill the monitor"
        )
        warn(("shutdown", "drain"), message, "shorten it, or raise TimeoutStopSec")


def _schedule(draft: Draft, warn: Warn) -> None:
    schedule, policy = draft.section(ScheduleSettings, "schedule"), _policy(draft)
    api = draft.section(ApiSettings, "api")
    connections = draft.listed(ConnectionSettings, "connections")
    intervals: dict[Path, timedelta] = {("schedule", "interval"): schedule.interval}
    for index, connection in connections.items():
        if connection.interval is not None:
            intervals["connections", index, "interval"] = connection.interval
    local = is_loopback(split(api.base_url).hostname or "")
    for path, interval in intervals.items():
        if interval < timedelta(minutes=1) and not local:
            message = f"an interval of {format_duration(interval)} puts much load on the API and the platforms"
            warn(path, message, "use at least 5m; the platforms' own limits count too")
        if policy.stale_after is not None and policy.stale_after <= interval:
            message = (
                f"policy.stale_after ({format_duration(policy.stale_after)}) must be longer than the interval ({format_duration(interval)})"
            )
            draft.refuse(("policy", "stale_after"), message, "use auto, or at least three intervals")
            return
    longest = max(intervals.values())
    if timedelta(0) < policy.reminders < longest:
        message = f"policy.reminders ({format_duration(policy.reminders)}) is shorter than an interval ({format_duration(longest)})"
        warn(("policy", "reminders"), message, "reminders are decided at checks; make it longer, or off")
    if schedule.recheck > schedule.interval:
        message = "schedule.recheck is longer than schedule.interval"
        warn(("schedule", "recheck"), message, "shorten it: it is the pause before the confirming check")
    # Every part is valid already.
    entries = Config.model_construct(connections=tuple(connections.values()), schedule=schedule).entries()
    for load in account_loads(map(partial(entries.spec, listed=False), entries.named), api.requests_per_second):
        if load.too_many:
            from monitor.text.load import interval_advice, load_text  # noqa: PLC0415 - rarely needed, and a verb starts faster without

            warn(("connections",), load_text(load), interval_advice(load))


def _places(draft: Draft, warn: Warn) -> None:
    _open_port(draft, warn, draft.section(WebSettings, "web"))
    url = draft.section(DatabaseSettings, "database").url.reveal()
    if re.match(r"sqlite:///(?!/|:memory:|file:)", url):
        message = "the path of the database is relative to the working directory"
        warn(("database", "url"), message, "write four slashes: sqlite:////var/lib/...")
    if draft.document.at(("cluster",)) is not None and url.startswith("sqlite:"):
        draft.refuse(("cluster",), "instances on several machines can't share an SQLite file", "set database.url to postgresql://...")
    _cluster(draft, warn)
    if urlsplit(draft.section(MonitorSettings, "monitor").dashboard_url).query:
        message = "monitor.dashboard_url has a query, which every receiver gets"
        warn(("monitor", "dashboard_url"), message, "make sure that it contains no token")


_OF_A_NODE = {"node", "url", "turn", "weight"}


def _cluster(draft: Draft, warn: Warn) -> None:
    cluster = draft.sections.get("cluster")
    if not isinstance(cluster, ClusterSettings):
        return
    if cluster.mode == "standby":
        for key in sorted(cluster.model_fields_set & _OF_A_NODE):
            warn(("cluster", key), f"cluster.{key} has no effect with mode: standby", "remove it, or use mode: shared")
        return
    if advice := missing("procrastinate"):
        draft.refuse(("cluster", "mode"), "cluster.mode shared needs Procrastinate", advice)
    if is_loopback(draft.section(WebSettings, "web").host):
        message = "web.listen is on loopback: the other nodes and Prometheus on another machine can't reach this one"
        path = ("web", "listen") if draft.document.at(("web", "listen")) is not None else ("cluster", "mode")
        warn(path, message, "listen on an address of this machine, with web.config_file or web.token_file")


def _open_port(draft: Draft, warn: Warn, web: WebSettings) -> None:
    """Source: reliability.md 4.1."""
    path = ("web", "listen")
    if draft.web_file is None:
        return
    is_open = web.token is None and not draft.web_file.authenticates
    for key, given, act in (("actions", web.actions, "act"), ("lifecycle", web.lifecycle, "reload")):
        if given and is_open:
            message = f"web.{key} lets anyone {act} who reaches the port"
            draft.refuse(("web", key), message, "set web.config_file with users, or web.token_file")
    if is_loopback(web.host):
        return
    if is_open:
        message = "web.listen opens the port to the network without a password or token"
        if web.insecure_listen:
            warn(path, message, "set web.config_file or web.token_file")
        else:
            fix = "set web.config_file or web.token_file, listen on 127.0.0.1, or accept it with web.insecure_listen: true"
            draft.refuse(path, message, fix)
    elif draft.web_file.tls_server_config is None and not web.insecure_listen:
        message = "web.listen opens the port to the network without TLS: passwords and tokens are readable in transit"
        warn(path, message, "set tls_server_config in web.config_file, or accept it with web.insecure_listen: true")
