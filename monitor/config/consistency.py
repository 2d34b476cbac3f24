"""What no section can know alone: names that refer to each other, duplicates, and times that do not fit together."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from urllib.parse import urlsplit

from monitor.config.problems import nearest, suggest
from monitor.config.sections.controls import QuietHoursSettings, SilenceSettings, troubles
from monitor.config.sections.core import (
    AccountSettings,
    ApiSettings,
    ConnectionSettings,
    DatabaseSettings,
    MonitorSettings,
    ScheduleSettings,
    ShutdownSettings,
    WebSettings,
)
from monitor.config.sections.policy import PolicySettings, policy_of
from monitor.config.sections.receivers import ReceiverSettings, RouteSettings
from monitor.config.types import split
from monitor.config.validation import Draft
from monitor.config.yaml import Path, dotted
from monitor.domain.policy import Policy
from monitor.domain.routing import RESERVED
from monitor.errors import Problem
from monitor.http.addresses import is_loopback
from monitor.text.durations import format_duration

_STOP_TIMEOUT = timedelta(seconds=45)
_OWN_HEADERS = frozenset({"content-type", "content-length", "content-encoding", "transfer-encoding", "host", "connection", "user-agent"})
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_KEYS = {"pagerduty": "routing_key", "opsgenie": "api_key"}


CheckTemplate = Callable[[str, Callable[[str, Sequence[str]], str | None]], Iterable[tuple[str, str]]]
"""The problems of a receiver's template, each with what to do."""


def check(draft: Draft, check_template: CheckTemplate) -> list[Problem]:
    """Add the problems between sections to *draft*; gives the warnings: what works but is probably not meant."""
    warnings: list[Problem] = []

    def warn(path: Path, message: str, fix: str = "") -> None:
        warnings.append(Problem(draft.document.location(path), message, fix))

    receivers = partial(_receivers, check_template=check_template)
    for step in (_accounts, _connections, receivers, _routes, _silences, _times, _schedule, _places):
        step(draft, warn)
    return warnings


Warn = Callable[[Path, str, str], None]


def _duplicates(draft: Draft, name: str, what: str) -> None:
    first: dict[str, int] = {}
    for index, item in draft.raw(name):
        own = item.get("name")
        if not isinstance(own, str):
            continue
        if own in first:
            other = draft.document.location((name, first[own])).rpartition(":")[2]
            draft.refuse((name, index, "name"), f"a second {what} is called {own} (the first is on line {other})", "give it another name")
        first.setdefault(own, index)


def _accounts(draft: Draft, warn: Warn) -> None:
    _duplicates(draft, "accounts", "account")
    accounts = draft.listed(AccountSettings, "accounts")
    if not draft.document.at(("accounts",)):
        draft.refuse(("accounts",), "there is no account", "add accounts: with a name and an api_key_file")
    used = {connection.account for connection in draft.listed(ConnectionSettings, "connections").values()}
    for index, account in accounts.items():
        if account.discover == "off" and account.name not in used:
            warn(("accounts", index), f"account {account.name} watches nothing", "list its connections, or remove discover: off")


def _connections(draft: Draft, warn: Warn) -> None:
    names = draft.names("accounts")
    for index, item in draft.raw("connections"):
        account = item.get("account")
        if names and isinstance(account, str) and account not in names:
            draft.refuse(("connections", index, "account"), f"there is no account {account}", suggest(account, names, "accounts"))
    seen: dict[tuple[str, str, str], int] = {}
    for index, connection in draft.listed(ConnectionSettings, "connections").items():
        path: Path = ("connections", index)
        key = (connection.account, connection.user_id, connection.platform + connection.id[len(connection.platform) :])
        if key in seen:
            other = draft.document.location(("connections", seen[key])).rpartition(":")[2]
            draft.refuse(path, f"{connection.id} is listed twice in account {connection.account} (first on line {other})", "remove one")
        seen.setdefault(key, index)
        if not connection.id.startswith(connection.platform):
            warn(
                (*path, "id"),
                f"{connection.id} begins in upper case; the API lists ids in lower case",
                "copy the id from the list of connections",
            )
        for label in connection.labels:
            if label in RESERVED:
                draft.refuse((*path, "labels", label), f"the label {label} would hide what routes call {label}", "choose another name")


def _receivers(draft: Draft, warn: Warn, *, check_template: CheckTemplate) -> None:
    _duplicates(draft, "receivers", "receiver")
    if not draft.document.at(("receivers",)):
        warn(("receivers",), "there is no receiver: nobody is told", "add receivers: with a name and a url_file")
    for index, receiver in draft.listed(ReceiverSettings, "receivers").items():
        _receiver(draft, warn, receiver, ("receivers", index), check_template)


def _receiver(draft: Draft, warn: Warn, receiver: ReceiverSettings, path: Path, check_template: CheckTemplate) -> None:
    needed = _KEYS.get(receiver.type)
    if needed and getattr(receiver, needed) is None:
        draft.refuse(path, f"receiver {receiver.name} of type {receiver.type} needs {needed} or {needed}_file", f"add {needed}_file")
    for kind, key in _KEYS.items():
        if getattr(receiver, key) is not None and receiver.type != kind:
            draft.refuse((*path, key), f"receiver {receiver.name}: {key} is for type {kind} only", "remove it, or correct the type")
    if receiver.secrets and receiver.type != "webhook":
        draft.refuse(path, f"receiver {receiver.name}: bodies of type {receiver.type} can't be signed", "remove the signing secret")
    if receiver.template is not None:
        _template(draft, receiver, receiver.template.reveal(), (*path, "template"), check_template)
    for header, value in receiver.headers.items():
        _header(draft, header, value.reveal(), (*path, "headers", header))
    parts = urlsplit(receiver.url.reveal())
    if (
        parts.scheme == "http"
        and receiver.type in {"slack", "discord", "teams", "pagerduty", "opsgenie"}
        and not is_loopback(parts.hostname or "")
    ):
        warn(path, f"receiver {receiver.name} is told without encryption", "use https://")


def _template(draft: Draft, receiver: ReceiverSettings, template: str, path: Path, check_template: CheckTemplate) -> None:
    if receiver.type != "webhook":
        draft.refuse(path, f"receiver {receiver.name}: template is for type webhook only", "remove it, or correct the type")
        return
    for message, fix in check_template(template, nearest):
        draft.refuse(path, f"receiver {receiver.name}: the template {message}", fix)


def _header(draft: Draft, name: str, value: str, path: Path) -> None:
    if not _TOKEN.fullmatch(name):
        draft.refuse(path, "a header has a name that HTTP does not allow", "use letters, digits and dashes")
    elif name.lower() in _OWN_HEADERS or name.lower().startswith("webhook-"):
        draft.refuse(path, f"the header {name} is set by the monitor itself", "remove it")
    elif not re.fullmatch(r"[\x20-\x7e]{1,4000}", value) or value != value.strip():
        draft.refuse(
            path, f"the header {name} must be 1 to 4000 visible ASCII characters on one line", "remove line breaks and outer blanks"
        )


def _routes(draft: Draft, warn: Warn) -> None:
    receivers = draft.names("receivers")
    told: set[str] = set()
    always: int | None = None
    routes = draft.listed(RouteSettings, "routes")
    for index, route in routes.items():
        path: Path = ("routes", index)
        _matchers(draft, route.match, path, "routes")
        for position, name in enumerate(route.receivers):
            if name not in receivers:
                draft.refuse((*path, "receivers", position), f"there is no receiver {name}", suggest(name, receivers, "receivers"))
        if always is not None:
            warn(path, "this route is never reached: an earlier one matches everything", "move the route without match to the end")
        elif not route.match:
            always = index
        told.update(route.receivers)
    for index, receiver in draft.listed(ReceiverSettings, "receivers").items():
        if routes and receiver.name not in told:
            warn(("receivers", index), f"receiver {receiver.name} is in no route: it is never told", "name it in a route, or remove it")


def _matchers(draft: Draft, match: Mapping[str, str], path: Path, what: str) -> None:
    """Refuse in *match*, which stands at *path*, what nothing can ever have; *what* is in the plural."""
    labels = {str(label) for _, item in draft.raw("connections") if isinstance(item.get("labels"), dict) for label in item["labels"]}
    known = sorted({*RESERVED, *labels})
    for key in match:
        if key not in known:
            message = f"{what} can't match on {key}: no connection has such a label"
            draft.refuse((*path, "match", key), message, suggest(key, known, "known"))


def _silences(draft: Draft, _warn: Warn) -> None:
    _duplicates(draft, "silences", "silence")
    for index, silence in draft.listed(SilenceSettings, "silences").items():
        _matchers(draft, silence.match, ("silences", index), "silences")
        _window(draft, silence, ("silences", index))
    _window(draft, draft.section(QuietHoursSettings, "quiet_hours"), ("quiet_hours",))


def _window(draft: Draft, section: SilenceSettings | QuietHoursSettings, path: Path) -> None:
    trouble = troubles(section)
    if trouble is not None:
        draft.refuse(path, f"{dotted(path)}: {trouble[0]}", trouble[1])


def _policy(draft: Draft) -> Policy:
    return policy_of(draft.section(PolicySettings, "policy"), draft.section(ScheduleSettings, "schedule"))


def _times(draft: Draft, warn: Warn) -> None:
    policy = _policy(draft)
    scopes, retry = policy.scopes, policy.retry
    if scopes.close_ratio >= scopes.ratio:
        draft.refuse(
            ("policy", "scopes"), "policy.scopes.close_ratio must be less than ratio", "otherwise incidents open and close at once"
        )
    if retry.slow_after > retry.give_up_after:
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
    intervals |= {
        ("connections", index, "interval"): one.interval for index, one in connections.items() if "interval" in one.model_fields_set
    }
    local = is_loopback(split(api.base_url).hostname or "")
    for path, interval in intervals.items():
        if interval < timedelta(minutes=1) and not local:
            message = f"an interval of {format_duration(interval)} is hard on the API and the platforms"
            warn(path, message, "5m is a sensible least; the platforms' own limits count too")
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
        warn(
            ("schedule", "recheck"),
            "schedule.recheck is longer than schedule.interval",
            "shorten it: it is the pause before the second look",
        )
    for name in {connection.account for connection in connections.values()}:
        own = [connection.interval for connection in connections.values() if connection.account == name]
        if sum(timedelta(seconds=1) / interval for interval in own) > api.requests_per_second:
            message = f"the {len(own)} connections of account {name} need more than {api.requests_per_second:g} requests per second"
            warn(("connections",), message, "make intervals longer; checks would be late all the time")


def _places(draft: Draft, warn: Warn) -> None:
    web = draft.section(WebSettings, "web")
    _open_port(draft, warn, web)
    url = draft.section(DatabaseSettings, "database").url.reveal()
    if re.match(r"sqlite:///(?!/|:memory:|file:)", url):
        warn(("database", "url"), "the database's path is relative to the working directory", "write four slashes: sqlite:////var/lib/...")
    dashboard = draft.section(MonitorSettings, "monitor").dashboard_url
    if urlsplit(dashboard).query:
        warn(("monitor", "dashboard_url"), "monitor.dashboard_url has a query", "it is sent to every receiver; a token in it would be too")


def _open_port(draft: Draft, warn: Warn, web: WebSettings) -> None:
    """Source: reliability.md 4.1."""
    path = ("web", "listen")
    if is_loopback(web.host) or draft.web_file is None:
        return
    if web.token is None and not draft.web_file.authenticates:
        message = "web.listen opens the port to the network without a password or token"
        if web.insecure_listen:
            warn(path, message, "set web.config_file or web.token_file")
        else:
            fix = "set web.config_file or web.token_file, listen on 127.0.0.1, or accept it with web.insecure_listen: true"
            draft.refuse(path, message, fix)
    elif draft.web_file.tls_server_config is None and not web.insecure_listen:
        message = "web.listen opens the port to the network without TLS: passwords and tokens can be read on the way"
        warn(path, message, "set tls_server_config in web.config_file, or accept it with web.insecure_listen: true")
