"""
Why a connection is believed to be as it is, in plain words: values in, lines out.

`explain` says which evidence led to the health, what is not yet confirmed, what lies above the connection and what is
known of its token. Who was told, and who was not, is said by `tellings`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from monitor.domain import topics
from monitor.domain.connections import Connection
from monitor.domain.events import Topic
from monitor.domain.expiry import estimate
from monitor.domain.health import confirmations
from monitor.domain.notifications.timing import end_held_until
from monitor.domain.policy import Policy
from monitor.domain.reasons import Health, Outcome, outcome_of
from monitor.domain.scopes.state import ScopeState
from monitor.domain.states import ConnectionState, PendingLevel
from monitor.domain.topics import ScopeContext
from monitor.errors import Reason
from monitor.text.advice import advice_lines
from monitor.text.durations import span
from monitor.text.format import HEALTH_WORDS, name_of, one_line, when
from monitor.text.notification_history import tellings_lines, topic_lines
from monitor.text.reasons import told_by
from monitor.text.report import ConnectionReport
from monitor.text.token_expiry import token_lines

_QUOTED = 300
_NO_TIME = timedelta(0)
_LATELY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class ExplainSection:
    """Lines about one question, under a title."""

    title: str
    lines: tuple[str, ...]


def explain(case: ConnectionReport, now: datetime, policy: Policy) -> tuple[ExplainSection, ...]:
    """Everything worth saying about *case* at *now*, the most important first."""
    sections = (
        ExplainSection("", (headline(case, now),)),
        ExplainSection("Evidence", tuple(_evidence(case, now, policy))),
        ExplainSection("Not yet confirmed", tuple(_unconfirmed(case, now, policy))),
        ExplainSection("Above it", tuple(_above(case, now, policy))),
        ExplainSection("Token", tuple(token_lines(case.connection, case.state, now, policy))),
        ExplainSection("Why somebody was told, or not", tuple(topic_lines(case, now, policy))),
        ExplainSection("Told lately", tuple(tellings_lines(case.tellings, now))),
        ExplainSection("What to do", tuple(advice_lines(case))),
    )
    return tuple(section for section in sections if section.lines)


def headline(case: ConnectionReport, now: datetime) -> str:
    """Whom it is about, how it is, and since when."""
    state = case.state
    since = f" since {when(state.since, now)}" if state.since is not None and state.health is not Health.UNKNOWN else ""
    ended = " It is no longer watched." if case.retired else ""
    return f"{name_of(case.connection, state)} {HEALTH_WORDS[state.health]} ({state.health}){since}.{ended}"


# evidence


def _evidence(case: ConnectionReport, now: datetime, policy: Policy) -> Iterator[str]:
    state = case.state
    if state.last_check_at is None or state.last_reason is None:
        yield "It was never checked."
        return
    yield from _checks(state, state.last_check_at, state.last_reason, now)
    if state.failures and state.first_failed_at is not None:
        count = "1 check failed" if state.failures == 1 else f"{state.failures} checks failed in a row, the first of them"
        yield f"{count} {when(state.first_failed_at, now)}."
        passed = "no check ever passed" if not state.passed_before else "it passed before"
        if state.last_passed_at is not None:
            passed = f"the last check that passed was {when(state.last_passed_at, now)}"
        yield f"{passed[0].upper()}{passed[1:]}."
    yield from _belief(state, policy)
    yield from _doubts(state, now)
    yield from _calm(case, now, policy)


def _checks(state: ConnectionState, at: datetime, reason: Reason, now: datetime) -> Iterator[str]:
    conclusive = outcome_of(reason) is not Outcome.INCONCLUSIVE
    yield f"The last check, {when(at, now)}, {_ending(reason)}: {told_by(reason, state.last_detail)}."
    if conclusive:
        return
    yield "That is no evidence about the connection: it changes how old our knowledge is, never the health."
    if state.last_evidence_at is None or state.reason is None:
        yield "No check was conclusive so far."
        return
    yield f"The last conclusive check, {when(state.last_evidence_at, now)}, {_ending(state.reason)}: {told_by(state.reason, state.detail)}."


def _ending(reason: Reason) -> str:
    return {
        Outcome.PASSED: "passed",
        Outcome.FAILED: "failed",
        Outcome.UNSUPPORTED: "found that it cannot be tested",
        Outcome.INCONCLUSIVE: "told nothing",
    }[outcome_of(reason)]


def _belief(state: ConnectionState, policy: Policy) -> Iterator[str]:
    """Which rule made the health what it is."""
    confirm = policy.confirm
    if state.health is Health.ERROR:
        count = confirm.upstream if state.reason is Reason.PLATFORM_TROUBLE else confirm.failures
        yield f"It counts as broken since {_times(count)} in a row failed, at least {span(policy.spacing)} apart."
    elif state.health is Health.MISSING:
        yield (
            f"It counts as gone since {_times(confirm.missing)} in a row, over at least {span(confirm.missing_over)}, said that the API "
            "does not know it."
        )
    elif state.health is Health.MISCONFIGURED:
        yield f"It counts as misconfigured since {_times(confirm.misconfigured)} in a row refused the id."
    elif state.health is Health.UNSUPPORTED:
        yield "What cannot be tested counts neither as working nor as broken, and nobody is woken for it."


def _times(count: int) -> str:
    return "1 check" if count == 1 else f"{count} checks"


def _doubts(state: ConnectionState, now: datetime) -> Iterator[str]:
    posted, failed = state.last_successful_post_at, state.first_failed_at
    if state.suspected_false_negative and posted is not None and failed is not None:
        yield (
            f"Suspected false negative: a post succeeded {when(posted, now)}, after the first failed check {when(failed, now)}. "
            "The test itself may be wrong, so the failure is told as a warning."
        )
    elif posted is not None:
        yield f"The last successful post was {when(posted, now)}."
    ends_at = estimate.best_estimate(state.token)
    if state.health is Health.ERROR and state.reason is Reason.CREDENTIAL_REJECTED and ends_at is not None and ends_at > now:
        yield f"By its date the token lasts until {when(ends_at, now)}, but the platform no longer accepts it."
    error = state.last_error
    if error is not None:
        at = f", {when(error.occurred_at, now)}" if error.occurred_at is not None else ""
        newer = posted is not None and error.occurred_at is not None and error.occurred_at < posted
        later = " A post has succeeded since." if newer else " It is about posting; it says nothing about the test."
        yield f"The last posting error{at}: “{one_line(error.message, _QUOTED)}”.{later}"
    if state.permissions_missing:
        yield f"Missing permissions: {', '.join(one_line(name, 80) for name in state.permissions_missing)}."


def _calm(case: ConnectionReport, now: datetime, policy: Policy) -> Iterator[str]:
    """Flapping and staleness."""
    state, flap = case.state, policy.flap
    recent = sum(1 for change in state.changes if change > now - flap.window)
    if topics.is_flapping(state, now, policy):
        until = state.changes[-1] + flap.calm
        yield (
            f"It is flapping: health changed {recent} times within {span(flap.window)} ({flap.changes} are too many). That ends "
            f"{when(until, now)}, if nothing changes until then."
        )
    elif recent > 1:
        yield f"Health changed {recent} times within the last {span(flap.window)}; {flap.changes} times would count as flapping."
    stale_at = topics.stale_at(case.connection, state, policy, ScopeContext(watching_since=_watched_since(case)))
    broken = state.health in {Health.ERROR, Health.MISSING, Health.MISCONFIGURED}  # silence does not heal: it stays so
    waits = broken or case.retired or any(scope.open for scope in case.above if scope.kind != "platform")
    if waits or stale_at is None or state.last_evidence_at is None:
        return
    if now < stale_at:
        yield f"Without another conclusive check it becomes stale {when(stale_at, now)}."
    else:
        yield (
            f"Nothing was learned for {span(now - state.last_evidence_at)}; a running monitor calls that stale after "
            f"{span(policy.stale_for(case.connection.interval))}, counted from its own start and from the end of wider trouble."
        )


def _watched_since(case: ConnectionReport) -> datetime | None:
    """Since when it could be checked again; the start of the running monitor is not known here."""
    ends = [scope.closed_at for scope in case.above if scope.closed_at is not None and scope.kind != "platform"]
    return max(ends, default=None)


# what may come


def _unconfirmed(case: ConnectionReport, now: datetime, policy: Policy) -> Iterator[str]:
    state, pending = case.state, case.state.pending
    if pending is not None:
        reason = state.reason or Reason.VALIDATION_FAILED
        needed = confirmations(state.health, pending.health, reason, policy)
        missing = max(0, needed - pending.count)
        yield (
            f"That it {HEALTH_WORDS[pending.health]}: {pending.count} of {_times(needed)} told so, the first {when(pending.first_at, now)}; "
            f"{missing or 'no'} more {'is' if missing == 1 else 'are'} needed, at least {span(policy.spacing)} apart."
        )
        over = pending.first_at + policy.confirm.missing_over
        if pending.health is Health.MISSING and over > now:
            yield f"And it must last until {when(over, now)}."
    for topic, hint in state.pending_levels.items():
        yield _hint(case.connection, topic, hint, now, policy)


def _hint(connection: Connection, topic: Topic, hint: PendingLevel, now: datetime, policy: Policy) -> str:
    needed = policy.confirm.expiry if topic in {Topic.EXPIRY, Topic.PERMISSIONS} else 1
    text = f"{topic}: “{hint.level}”, proposed {when(hint.since, now)} and seen {_count_times(hint.sightings)} of {needed}."
    settle = policy.expiry_for(connection.platform).settle
    if topic is Topic.EXPIRY and settle > _NO_TIME:
        text += f" It must hold until {when(hint.since + settle, now)}."
    return text


def _count_times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


# wider causes


def _above(case: ConnectionReport, now: datetime, policy: Policy) -> Iterator[str]:
    for scope in case.above:
        if scope.open:
            yield _open_scope(scope, now)
        elif scope.suspect_at is not None:
            words = told_by(scope.reason, scope.detail) if scope.reason is not None else "trouble"
            yield f"{scope.name} is suspected since {when(scope.suspect_at, now)}: {words}. Nobody is told of that yet."
        elif scope.closed_at is not None and now - scope.closed_at < _LATELY:
            yield f"{scope.name} is fine; its last trouble ended {when(scope.closed_at, now)}."
            held_until = end_held_until(scope, policy)
            if held_until is not None:
                yield f"That trouble came and went again and again, so its end is told when none comes until {when(held_until, now)}."
    if not any(scope.open or scope.suspect_at is not None for scope in case.above):
        yield "No wider trouble (account, API, platform, storage) is open."


def _open_scope(scope: ScopeState, now: datetime) -> str:
    since = scope.topic.opened_at or scope.topic.since
    begun = f" since {when(since, now)}" if since is not None else ""
    words = f": {told_by(scope.reason, scope.detail)}" if scope.reason is not None else ""
    effect = {
        "platform": "Many connections broke together, so the platform's incident is told in place of each.",
        "rate": "Checks are slowed down; staleness does not count meanwhile.",
    }.get(scope.kind, "While it lasts the health is frozen, and the wider incident is told in place of this connection.")
    return f"{scope.name} is in trouble{begun}{words}. {effect}"
