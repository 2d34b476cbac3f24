"""One connection, worded."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from monitor.domain import topics
from monitor.domain.events import Topic
from monitor.domain.expiry import estimate, levels
from monitor.domain.reasons import Health, Outcome, outcome_of
from monitor.domain.states import ConnectionState
from monitor.domain.views.handling import NOT_HANDLED, Handling
from monitor.domain.views.snapshot import ConnectionView, IncidentView
from monitor.domain.views.status import TONES, DisplayStatus, Tone, status_of, tone_of
from monitor.errors import Reason
from monitor.text.advice import health_advice, reason_advice, topic_advice
from monitor.text.durations import brief
from monitor.text.format import ago, doubt, moment, platform_name, sentence, short_name
from monitor.text.links import connection_path
from monitor.text.reasons import reason_text
from monitor.text.status import handling_texts, status_label, worst_of
from monitor.text.token_expiry import has_expired, token_left

_NOW = timedelta(0)
RETIRED = "No longer watched"


@dataclass(frozen=True, slots=True)
class Countdown:
    """The end of a token: as text, by how much it may be off, and in full."""

    text: str
    doubt: str = ""
    tone: Tone = Tone.IDLE
    ends_at: datetime | None = None
    uncertainty: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Note:
    """One thing to know about a connection; *quoted* is the platform's own text, *advice* what to do."""

    text: str
    quoted: str = ""
    advice: str = ""


@dataclass(frozen=True, slots=True)
class ConnectionRow:
    """
    One connection; everything is text besides the times and the view itself.

    Attributes:
        since, lasting: since when it has its status; None and empty while that is not known now.
        seen: how long ago it was last known, while that is not known now.
    """

    view: ConnectionView
    status: DisplayStatus
    tone: Tone
    label: str
    title: str
    path: str
    platform: str
    since: datetime | None
    lasting: str
    countdown: Countdown
    checked: str
    next_check: str
    posted: str
    notes: tuple[Note, ...]
    seen: str = ""
    handled: tuple[str, ...] = ()


def row_of(view: ConnectionView, incidents: Sequence[IncidentView], now: datetime, handling: Handling = NOT_HANDLED) -> ConnectionRow:
    """The row of a connection, given its own open incidents and what operators did about them."""
    connection, state = view.connection, view.state
    status = status_of(view, incidents)
    since = _since(view, status, incidents)
    return ConnectionRow(
        view=view,
        status=status,
        tone=tone_of(status, incidents),
        label=status_label(view, status, incidents),
        title=short_name(connection, state),
        path=connection_path(connection),
        platform=platform_name(connection.platform),
        since=since,
        lasting="" if since is None else brief(now - since),
        countdown=countdown_of(state, incidents, now),
        checked=ago(state.last_check_at, now),
        next_check=""
        if view.next_check_at is None
        else f"next {ago(view.next_check_at, now)}"
        if view.next_check_at > now
        else "next due now",
        posted="" if state.last_successful_post_at is None else ago(state.last_successful_post_at, now),
        notes=tuple(_each_once(_notes(view, incidents, now))),
        seen=ago(state.last_evidence_at, now)
        if status is DisplayStatus.UNKNOWN and view.unknown_now and state.last_evidence_at is not None
        else "",
        handled=tuple(handling_texts(handling, now)),
    )


def past_row_of(view: ConnectionView, now: datetime) -> ConnectionRow:
    """The row of a connection that is no longer watched, as it was last known."""
    notes = [Note("It is no longer in the configuration, or in the API's list of connections. The last known state is shown below.")]
    state = view.state
    if state.last_check_at is not None and state.last_reason is not None:
        outcome = {Outcome.PASSED: "passed", Outcome.FAILED: "failed"}.get(outcome_of(state.last_reason), "was inconclusive")
        why = "" if outcome == "passed" else f": {reason_text(state.last_reason)}"
        notes.append(Note(f"Its last check, {ago(state.last_check_at, now)}, {outcome}{why}.", quoted=state.last_detail))
    return replace(
        row_of(view, (), now), status=DisplayStatus.UNKNOWN, tone=Tone.IDLE, label=RETIRED, since=None, lasting="", notes=tuple(notes)
    )


def _since(view: ConnectionView, status: DisplayStatus, incidents: Sequence[IncidentView]) -> datetime | None:
    if status is DisplayStatus.UNKNOWN and view.unknown_now:
        return None
    worst = worst_of(view, incidents)
    incident = status in (DisplayStatus.ATTENTION, DisplayStatus.EXPIRING) and worst is not None
    return worst.incident.opened_at if incident and worst is not None else view.state.since


def expiry_tone(incidents: Sequence[IncidentView]) -> Tone:
    """The tone of a token's end."""
    return next((TONES[incident.severity] for incident in incidents if incident.incident.topic is Topic.EXPIRY), Tone.GOOD)


def countdown_of(state: ConnectionState, incidents: Sequence[IncidentView], now: datetime) -> Countdown:
    """The remaining life of the token. Its tone is that of its incident, not of the number: some tokens renew themselves."""
    ends_at, uncertainty = estimate.best_estimate(state.token), estimate.uncertainty(state.token)
    tone = expiry_tone(incidents)
    if ends_at is None:
        return Countdown(token_left(state, now), tone=tone if has_expired(state) else Tone.IDLE)
    left = ends_at - now
    if left <= _NOW:
        return Countdown(f"ended {brief(-left)} ago", tone=tone, ends_at=ends_at, uncertainty=uncertainty)
    renews = ", renews itself" if levels.auto_renewing(state.token) else ""
    return Countdown(f"{brief(left)}{renews}", doubt(uncertainty), tone, ends_at, uncertainty)


def _notes(view: ConnectionView, incidents: Sequence[IncidentView], now: datetime) -> Iterator[Note]:
    state = view.state
    yield from _health_notes(state)
    for incident in incidents:
        text = incident_text(incident, state, now)
        if text:
            advice = "" if topics.clearing(state, incident.incident.topic) else topic_advice(incident.incident.topic, incident.level)
            quoted = quoted_error(state) if incident.incident.topic is Topic.PUBLISHING else ""
            yield Note(text, quoted=quoted, advice=advice)
    if state.suspected_false_negative and state.health is Health.ERROR:
        yield Note("A post succeeded after the first failed check, so the test itself may be wrong.")
    yield from _last_check_note(state)


def _each_once(notes: Iterable[Note]) -> Iterator[Note]:
    """*notes*, each advice only where it is said first."""
    said: set[str] = set()
    for note in notes:
        yield replace(note, advice="") if note.advice in said else note
        said.add(note.advice)


def _health_notes(state: ConnectionState) -> Iterator[Note]:
    if state.health is Health.UNKNOWN and state.last_check_at is None:
        yield Note("Not checked yet.")
    elif state.health in (Health.OK, Health.UNKNOWN) or state.reason is None:
        return
    # While a change back is being confirmed, the last conclusive check was a good one.
    elif outcome_of(state.reason) is not Outcome.PASSED:
        yield Note(sentence(reason_text(state.reason)), quoted=state.detail, advice=health_advice(state) or reason_advice(state.reason))


def _last_check_note(state: ConnectionState) -> Iterator[Note]:
    """Why the last check changed nothing, or what is being confirmed."""
    if state.last_reason is not None and outcome_of(state.last_reason) is Outcome.INCONCLUSIVE:
        yield Note(f"The last check was inconclusive: {reason_text(state.last_reason)}.")
    elif state.pending is not None and state.health is Health.OK:
        why = reason_text(state.last_reason) if state.last_reason is not None else "it failed"
        yield Note(f"The last check failed and is being confirmed: {why}.", quoted=state.last_detail)
    elif state.pending is not None and state.pending.health is Health.OK:
        yield Note("The last check passed; one more confirms it.")


def incident_text(incident: IncidentView, state: ConnectionState, now: datetime) -> str:
    """An incident that the health does not show, as one sentence; empty for the others."""
    match incident.incident.topic:
        case Topic.CONNECTION:
            return _unsure_text(incident, state, now)
        case Topic.EXPIRY:
            return _expiry_text(incident, state, now)
        case Topic.RENEWAL:
            return "The token is usually renewed earlier than now."
        case Topic.PUBLISHING:
            return "The test passes, but posting failed."
        case Topic.PERMISSIONS:
            return _permission_text(state)
    return ""


def _unsure_text(incident: IncidentView, state: ConnectionState, now: datetime) -> str:
    if incident.level == topics.FLAPPING:
        return "It is flapping between working and failing."
    if incident.level == topics.STALE:
        seen = state.last_evidence_at or state.since or incident.incident.opened_at
        return f"It has not been checked successfully for {brief(now - seen)}; its state is unknown."
    return ""


def _expiry_text(incident: IncidentView, state: ConnectionState, now: datetime) -> str:
    ends_at = estimate.best_estimate(state.token)
    ahead = "" if ends_at is None or ends_at <= now else f"ends in {brief(ends_at - now)}, on {moment(ends_at)}"
    if topics.clearing(state, Topic.EXPIRY):
        return f"It seems to be renewed{f': the token now {ahead}' if ahead else ''}. One more check confirms it."
    if incident.level == levels.EXPIRED:
        if state.health is Health.ERROR and state.reason is Reason.TOKEN_EXPIRED:
            return ""  # The reason of the failure says it.
        past = ends_at is not None and not ahead
        return f"The token ended on {moment(ends_at)}." if past and ends_at is not None else "The token has expired."
    return f"The token {ahead or 'ends soon'}."


def _permission_text(state: ConnectionState) -> str:
    if not state.permissions_missing:
        return "The permissions seem to be back; one more check confirms it."
    return f"Permissions are missing: {', '.join(state.permissions_missing)}."


def quoted_error(state: ConnectionState) -> str:
    """The error of the last post that failed."""
    return "" if state.last_error is None else state.last_error.message
