"""The page "Can I post?": the preflight of chosen connections, or of those with a label, for a time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from monitor.domain.policy import Policy
from monitor.domain.projections.preflight import Readiness, overall, remembered
from monitor.domain.views.status import Filters, Tone
from monitor.text.format import ago, one_line, platform_name, sentence, short_name
from monitor.text.links import connection_path
from monitor.text.reasons import preflight_text
from monitor.web.api.parameters import choice_of
from monitor.web.status.board import StatusBoard

MAX_AGE = timedelta(minutes=30)
"""Results that are older say nothing, as with the verb."""
MOST_CHOICES = 100
MOST_RESULTS = 500
_LONGEST_TIME = 32

_TONES = {Readiness.READY: Tone.GOOD, Readiness.NOT_READY: Tone.BAD, Readiness.UNKNOWN: Tone.WARN}
_ANSWERS = {Readiness.READY: "ready", Readiness.NOT_READY: "not ready", Readiness.UNKNOWN: "unknown"}


class FieldProblem(ValueError):
    """A field of a page's address has an unusable value; the message names it and says what is allowed."""


@dataclass(frozen=True, slots=True)
class PreflightRow:
    """The answer for one connection."""

    title: str
    platform: str
    path: str
    answer: str
    tone: Tone
    why: str
    checked: str


@dataclass(frozen=True, slots=True)
class PreflightPage:
    """
    The form as it was filled in, and the answer.

    Attributes:
        choices: connections to choose from: id, name, and whether it is chosen; empty when there are too many: then ids are typed.
        answer: of all together; None when nothing is chosen.
    """

    choices: tuple[tuple[str, str, bool], ...]
    typed: str
    labels: Sequence[tuple[str, str]]
    label: str
    at: str
    problem: str = ""
    answer: str = ""
    tone: Tone = Tone.IDLE
    rows: tuple[PreflightRow, ...] = ()


def preflight_page(board: StatusBoard, query: Mapping[str, str], policy: Policy, now: datetime) -> PreflightPage:
    """The page for the address *query*; a field that cannot be used is named and nothing is answered."""
    getall = getattr(query, "getall", lambda name, _: [query[name]] if name in query else [])
    known = {view.connection.platform_id for view in board.snapshot.connections}
    given = ([text] if text in known else text.replace(",", " ").split() for text in getall("ids", ()))
    ids = list(dict.fromkeys(part for parts in given for part in parts))
    label, at = query.get("label", "").strip(), query.get("at", "").strip()
    views = board.snapshot.connections
    few = len(views) <= MOST_CHOICES
    choices = sorted((short_name(view.connection, view.state), view.connection.platform_id) for view in views) if few else []
    form = PreflightPage(
        choices=tuple((number, name, number in ids) for name, number in choices),
        typed=" ".join(ids),
        labels=[pair for values in board.label_choices.values() for pair in values],
        label=label,
        at=at,
    )
    try:
        rows, answer = _answers(board, ids, label, _time_of(at, now), policy, now)
    except FieldProblem as problem:
        return replace(form, problem=str(problem))
    if answer is None:
        return form
    return replace(form, rows=rows, tone=_TONES[answer], answer=_sentence(answer, rows))


def _time_of(text: str, now: datetime) -> datetime:
    if not text:
        return now
    at = moment_of("at", text)
    if at < now - timedelta(minutes=1):
        raise FieldProblem("at: the time is past; leave it empty to ask for now.")
    return at


def moment_of(field: str, text: str, latest: datetime | None = None) -> datetime:
    """The moment that a field holds, UTC unless it says otherwise, *latest* at most. Raises `FieldProblem`."""
    try:
        # In an address a plus sign is a space.
        at = datetime.fromisoformat(text.replace(" ", "+") if len(text) <= _LONGEST_TIME else "")
        at = (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise FieldProblem(f"{field}: a time such as 2026-11-20T03:00Z is expected.") from None
    if latest is not None and at > latest:
        raise FieldProblem(f"{field}: the time is not past yet.")
    return at


def _answers(
    board: StatusBoard, ids: Sequence[str], label: str, at: datetime, policy: Policy, now: datetime
) -> tuple[tuple[PreflightRow, ...], Readiness | None]:
    views = {view.connection.id: view for view in board.snapshot.connections if view.connection.platform_id in set(ids)}
    unknown = set(ids) - {view.connection.platform_id for view in views.values()}
    if label:
        labelled = board.matching(Filters(labels=(label,)))
        if not labelled:
            raise FieldProblem(f"label: no connection has the label {label}.")
        views |= {view.connection.id: view for view in labelled}
    if len(views) > MOST_RESULTS:
        raise FieldProblem(f"label: it selects more than {MOST_RESULTS} connections; choose fewer.")
    if unknown:
        name = min(unknown)
        known = {view.connection.platform_id for view in board.snapshot.connections}
        raise FieldProblem(f"ids: {one_line(name, 80)} is not watched{choice_of(name, sorted(known))}.")
    if not views:
        return (), None
    rows, results = [], []
    for view in views.values():
        connection, state = view.connection, view.state
        result = remembered(
            state,
            connection.platform,
            view.suppressed_by,
            now,
            policy.expiry_for(connection.platform),
            max_age=MAX_AGE,
            min_ttl=max(at - now, timedelta(0)),
            storage_up=board.snapshot.storage_up,
        )
        results.append((result.answer is Readiness.READY, result, view))
    for _, result, view in sorted(results, key=lambda entry: entry[0]):
        title, path = short_name(view.connection, view.state), connection_path(view.connection)
        why = sentence(preflight_text(result))
        checked = ago(view.state.last_evidence_at, now)
        platform = platform_name(view.connection.platform)
        rows.append(PreflightRow(title, platform, path, _ANSWERS[result.answer], _TONES[result.answer], why, checked))
    return tuple(rows), overall(result.answer for _, result, _ in results)


def _sentence(answer: Readiness, rows: Sequence[PreflightRow]) -> str:
    ready = sum(row.tone is Tone.GOOD for row in rows)
    if answer is Readiness.READY:
        return "Yes: it is ready." if len(rows) == 1 else f"Yes: all {len(rows):,} are ready."
    verb = "No" if answer is Readiness.NOT_READY else "Not certain"
    return f"{verb}: {ready:,} of {len(rows):,} {'is' if ready == 1 else 'are'} ready."
