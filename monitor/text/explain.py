"""`explain` as sections of lines: the evidence, what is not confirmed, wider scopes, the token, notifications, advice."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from monitor.domain import topics
from monitor.domain.connections import Connection
from monitor.domain.events import Topic
from monitor.domain.expiry import estimate
from monitor.domain.health import confirmations
from monitor.domain.notifications.timing import closing_held_until
from monitor.domain.policy import Policy
from monitor.domain.reasons import UPSTREAM, Health, Outcome, outcome_of
from monitor.domain.routing.connection_entries import ConnectionEntry
from monitor.domain.routing.matchers import covers
from monitor.domain.scopes.state import ScopeState
from monitor.domain.silencing.acceptance import is_new
from monitor.domain.silencing.silences import SilenceState
from monitor.domain.states import ConnectionState, PendingLevel
from monitor.domain.topics import ScopeContext
from monitor.domain.views.snapshot import ConnectionView
from monitor.errors import Reason
from monitor.text.advice import reconnects, report_advice
from monitor.text.durations import format_duration, span
from monitor.text.format import HEALTH_TEXTS, capital, count, full_name, one_line, when
from monitor.text.notification_history import notification_lines, topic_lines
from monitor.text.reasons import quoted_reason
from monitor.text.report import ConnectionReport
from monitor.text.status import last_known_text
from monitor.text.token_expiry import token_lines

_QUOTED = 300
_NO_TIME = timedelta(0)
_RECENTLY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class ExplainSection:
    """Lines about one question, under a title."""

    title: str
    lines: tuple[str, ...]


def explain(report: ConnectionReport, now: datetime, policy: Policy) -> tuple[ExplainSection, ...]:
    """The sections that have lines, the most important first."""
    sections = (
        ExplainSection("", (headline(report, now),)),
        ExplainSection("What to do", () if report.retired else tuple(_advice(report))),
        ExplainSection("Silences", tuple(silence_lines(report, now))),
        ExplainSection("Settings", tuple(map(_entry_line, report.entries))),
        ExplainSection("Evidence", tuple(_evidence(report, now, policy))),
        ExplainSection("Not yet confirmed", () if report.retired else tuple(_unconfirmed(report, now, policy))),
        ExplainSection("Wider scopes", tuple(_above(report, now, policy))),
        ExplainSection("Token", tuple(token_lines(report.connection, report.state, now, policy))),
        ExplainSection("Notifications", tuple(topic_lines(report, now, policy))),
        ExplainSection("Recent notifications", tuple(notification_lines(report.notifications, now))),
    )
    return tuple(section for section in sections if section.lines)


def _advice(report: ConnectionReport) -> Iterator[str]:
    """What to do, and where to reconnect."""
    lines = dict.fromkeys(filter(None, report_advice(report)))
    yield from lines
    if report.dashboard_url and any(map(reconnects, lines)):
        yield f"Dashboard: {report.dashboard_url}"


def _entry_line(entry: ConnectionEntry) -> str:
    """What one entry of the configuration gives; the entries below it take precedence."""
    given = [
        f"name {entry.name}" if entry.name is not None else "",
        f"interval {format_duration(entry.interval)}" if entry.interval is not None else "",
        f"expect {entry.expect}" if entry.expect is not None else "",
        f"labels {' '.join(f'{name}={value}' for name, value in entry.labels.items())}" if entry.labels else "",
        f"permissions {' '.join(entry.require_permissions)}" if entry.require_permissions else "",
    ]
    return one_line(f"{entry.place}: {', '.join(filter(None, given)) or 'nothing'}", _QUOTED)


def headline(report: ConnectionReport, now: datetime) -> str:
    """Which connection, its health, and since when."""
    state = report.state
    name = full_name(report.connection, state.display_name or state.username)
    was = last_known_text(state, now)
    if report.retired:
        return f"{name} is no longer watched{f'; it {was}' if was else ''}."
    if was and ConnectionView(report.connection, state, report.suppressed_by, outdated=report.outdated).unknown_now:
        return f"{name} {was}; its state is not known now."
    since = f" since {when(state.since, now)}" if state.since is not None and state.health is not Health.UNKNOWN else ""
    doubt = " A failure is being confirmed." if state.pending is not None and state.pending.health.broken else ""
    return f"{name} {HEALTH_TEXTS[state.health]} ({state.health}){since}.{doubt}"


def silence_lines(report: ConnectionReport, now: datetime) -> Iterator[str]:
    """The silences that cover the connection, those of the configuration last."""
    for silence in report.controls.silences:
        state = silence.state(now)
        if state is SilenceState.EXPIRED or not covers(silence.match, report.connection):
            continue
        match = one_line(" ".join(f"{name}={pattern}" for name, pattern in silence.match.items()), _QUOTED)
        times = f"until {when(silence.over_at, now)}" if state is SilenceState.ACTIVE else f"from {when(silence.starts_at, now)}"
        yield f"Silence {silence.id} ({match}) by {one_line(silence.author, 80)} {times}: “{one_line(silence.reason, _QUOTED)}”."
    for recurring in report.controls.recurring:
        if covers(recurring.match, report.connection):
            until = recurring.when.ends_at(now)
            active = f"active until {when(until, now)}" if until is not None else f"next from {when(recurring.when.starts_at(now), now)}"
            yield f"{one_line(recurring.name, 80)}, in the configuration: {active}."


# evidence


def _evidence(report: ConnectionReport, now: datetime, policy: Policy) -> Iterator[str]:
    state = report.state
    if state.last_check_at is None or state.last_reason is None:
        yield "Never checked."
        return
    yield from _checks(state, state.last_check_at, state.last_reason, now)
    if state.failures and state.first_failed_at is not None:
        failed = "1 check failed" if state.failures == 1 else f"{state.failures} consecutive checks failed, the first"
        yield f"{failed} {when(state.first_failed_at, now)}."
        if state.last_passed_at is not None:
            yield f"The last passed check was {when(state.last_passed_at, now)}."
        else:
            yield "Earlier checks passed." if state.passed_before else "No check has ever passed."
    if state.since is not None:
        yield from _health_rule(state, policy)
    yield from _platform_facts(state, now)
    yield from _acceptance(report, now)
    yield from _flapping_and_staleness(report, now, policy)


def _checks(state: ConnectionState, at: datetime, reason: Reason, now: datetime) -> Iterator[str]:
    conclusive = outcome_of(reason) is not Outcome.INCONCLUSIVE
    yield f"The last check, {when(at, now)}, {_outcome_text(reason)}: {quoted_reason(reason, state.last_detail)}."
    if conclusive:
        return
    yield "An inconclusive check is not evidence and never changes the health."
    if state.last_evidence_at is None or state.reason is None:
        yield "No check has been conclusive yet."
        return
    yield f"The last conclusive check, {when(state.last_evidence_at, now)}, {_outcome_text(state.reason)}: {quoted_reason(state.reason, state.detail)}."


def _outcome_text(reason: Reason) -> str:
    return {
        Outcome.PASSED: "passed",
        Outcome.FAILED: "failed",
        Outcome.UNSUPPORTED: "found the connection untestable",
        Outcome.INCONCLUSIVE: "was inconclusive",
    }[outcome_of(reason)]


def _health_rule(state: ConnectionState, policy: Policy) -> Iterator[str]:
    """The rule that led to the health."""
    confirm = policy.confirm
    if state.health is Health.ERROR:
        needed = confirm.upstream if state.reason in UPSTREAM else confirm.failures
        yield f"Broken because {_consecutive(needed)} failed, at least {span(policy.spacing)} apart."
    elif state.health is Health.MISSING:
        yield (
            f"Missing because in {_consecutive(confirm.missing)}, over at least {span(confirm.missing_over)}, the API did not know the "
            "connection."
        )
    elif state.health is Health.MISCONFIGURED:
        yield f"Misconfigured because in {_consecutive(confirm.misconfigured)} the API refused the id."
    elif state.health is Health.UNSUPPORTED:
        yield "An untestable connection counts neither as working nor as broken; that opens no incident."


def _consecutive(number: int) -> str:
    return "1 check" if number == 1 else f"{number} consecutive checks"


def _platform_facts(state: ConnectionState, now: datetime) -> Iterator[str]:
    posted, failed = state.last_successful_post_at, state.first_failed_at
    if state.suspected_false_negative and posted is not None and failed is not None:
        yield (
            f"Suspected false negative: a post succeeded {when(posted, now)}, after the first failed check {when(failed, now)}. "
            "The test itself may be wrong, so the failure is notified as a warning."
        )
    elif posted is not None:
        yield f"The last successful post was {when(posted, now)}."
    ends_at = estimate.best_estimate(state.token)
    if state.health is Health.ERROR and state.reason is Reason.CREDENTIAL_REJECTED and ends_at is not None and ends_at > now:
        yield f"By its date the token is valid until {when(ends_at, now)}, but the platform no longer accepts it."
    error = state.last_error
    if error is not None:
        at = f", {when(error.occurred_at, now)}" if error.occurred_at is not None else ""
        newer = posted is not None and error.occurred_at is not None and error.occurred_at < posted
        later = " A post has succeeded since." if newer else " It concerns posting, not the test."
        yield f"The last posting error{at}: “{one_line(error.message, _QUOTED)}”.{later}"
    if state.permissions_missing:
        yield f"Missing permissions: {_names(state.permissions_missing)}."


def _acceptance(report: ConnectionReport, now: datetime) -> Iterator[str]:
    """The loss of permissions that an operator accepted last."""
    acceptance = report.controls.accepted.get(report.connection.id)
    if acceptance is None:
        return
    reason = f": “{one_line(acceptance.reason, _QUOTED)}”" if acceptance.reason else ""
    pending = " The running daemon takes it over within seconds." if is_new(acceptance, report.state) else ""
    author = one_line(acceptance.author, 80)
    yield f"The loss of {_names(acceptance.permissions)} was accepted by {author} {when(acceptance.at, now)}{reason}.{pending}"


def _names(permissions: Iterable[str]) -> str:
    return ", ".join(one_line(name, 80) for name in permissions)


def _flapping_and_staleness(report: ConnectionReport, now: datetime, policy: Policy) -> Iterator[str]:
    state, flap, interval = report.state, policy.flap, report.connection.interval
    window = flap.window_for(interval)
    recent = sum(1 for change in state.changes if change > now - window)
    if topics.is_flapping(report.connection, state, now, policy):
        until = state.changes[-1] + flap.calm_for(interval)
        yield (
            f"Flapping: health changed {recent} times within {span(window)} (limit {flap.changes}). It ends {when(until, now)}, "
            "if nothing changes until then."
        )
    elif recent > 1:
        yield f"Health changed {recent} times within the last {span(window)}; {flap.changes} changes count as flapping."
    stale_at = topics.stale_at(report.connection, state, policy, ScopeContext(watching_since=_watched_since(report)))
    # A broken connection stays broken without further checks; it does not become stale.
    never = state.health.broken or report.retired or any(scope.open for scope in report.above if not scope.key.platform)
    if never or stale_at is None or state.last_evidence_at is None:
        return
    if now < stale_at:
        yield f"Without another conclusive check it becomes stale {when(stale_at, now)}."
    else:
        yield (
            f"No conclusive check for {span(now - state.last_evidence_at)}. A connection is stale after "
            f"{span(policy.stale_for(report.connection.interval))}, counted from the start of the monitor and from the end of scope incidents."
        )


def _watched_since(report: ConnectionReport) -> datetime | None:
    """When the last scope incident above it ended; the start of the running monitor is not known here."""
    ends = [scope.closed_at for scope in report.above if scope.closed_at is not None and not scope.key.platform]
    return max(ends, default=None)


# what may come


def _unconfirmed(report: ConnectionReport, now: datetime, policy: Policy) -> Iterator[str]:
    state, pending = report.state, report.state.pending
    if pending is not None:
        reason = state.reason or Reason.VALIDATION_FAILED
        needed = confirmations(state.health, pending.health, reason, policy)
        missing, first = needed - pending.count, f"the first {when(pending.first_at, now)}"
        if missing > 0:
            counted = f"{pending.count} of {count(needed, 'check')}, {first}; {missing} more needed, at least {span(policy.spacing)} apart."
        else:
            counted = f"{count(pending.count, 'check')}, {first}: enough of them."
        yield f"{pending.health}: {counted}"
        over = pending.first_at + policy.confirm.missing_over
        if pending.health is Health.MISSING and over > now:
            yield f"It must also last until {when(over, now)}."
    other = state.pending_cause
    if other is not None:
        needed = confirmations(Health.OK, state.health, state.reason or Reason.VALIDATION_FAILED, policy)
        yield f"another cause of the failure: {other.count} of {count(needed, 'check')}, the first {when(other.first_at, now)}."
    for topic, level in state.pending_levels.items():
        yield _pending_level(report.connection, topic, level, now, policy)


def _pending_level(connection: Connection, topic: Topic, level: PendingLevel, now: datetime, policy: Policy) -> str:
    needed = policy.confirm.expiry if topic in {Topic.EXPIRY, Topic.PERMISSIONS} else 1
    text = f"{topic}: “{level.level}”, {level.sightings} of {count(needed, 'check')}, the first {when(level.since, now)}."
    settle = policy.expiry_for(connection.platform).settle
    if topic is Topic.EXPIRY and settle > _NO_TIME:
        text += f" It must last until {when(level.since + settle, now)}."
    return text


# wider causes


def _above(report: ConnectionReport, now: datetime, policy: Policy) -> Iterator[str]:
    for scope in report.above:
        name = capital(report.scope_text(scope))
        if scope.open:
            yield _open_scope(scope, name, now, unknown=report.scope_deliveries.get(scope.key) == "none")
        elif scope.suspect_at is not None:
            reason = f": {quoted_reason(scope.reason, scope.detail)}" if scope.reason is not None else ""
            yield f"{name} is suspected since {when(scope.suspect_at, now)}{reason}. No notification yet."
        elif scope.closed_at is not None and now - scope.closed_at < _RECENTLY:
            yield f"{name} is fine; its last incident was closed {when(scope.closed_at, now)}."
            held_until = closing_held_until(scope, policy)
            if held_until is not None:
                yield f"It opens and closes repeatedly, so the end is notified if it does not open again until {when(held_until, now)}."
    if report.storage is not None:
        quoted = f": “{one_line(report.storage.problem, _QUOTED)}”" if report.storage.problem else ""
        yield f"The database takes no writes since {when(report.storage.since, now)}{quoted}. No change is confirmed, nothing is notified."
    elif not any(scope.open or scope.suspect_at is not None for scope in report.above):
        yield "No scope incident (account, API, platform, storage) is open."


def _open_scope(scope: ScopeState, name: str, now: datetime, *, unknown: bool) -> str:
    since = scope.topic.opened_at or scope.topic.since
    opened = f" since {when(since, now)}" if since is not None else ""
    reason = f": {quoted_reason(scope.reason, scope.detail)}" if scope.reason is not None else ""
    effect = {
        "platform": "Connections failed together, so the platform's incident is notified in place of each.",
        "group": "Connections failed together, so their incident is notified in place of each.",
        "rate": "Checks are slowed down; connections do not become stale meanwhile.",
    }.get(scope.kind, "While it is open the health is frozen, and its incident is notified in place of this connection's.")
    more = " No receiver has that notification." if unknown else ""
    return f"{name} has an open incident{opened}{reason}. {effect}{more}"
