"""
What each document holds. `monitor.schemas.schema` makes JSON Schema of these, so that the published description and the
types that the code is checked against are one thing. The words beside a type are its description.
"""

from dataclasses import dataclass
from typing import Annotated, TypedDict

from monitor.db import DeliveryState
from monitor.domain.events import EventType, NotificationReason, Severity, Topic
from monitor.domain.preflight import Readiness
from monitor.domain.reasons import Health, Outcome, Scope
from monitor.domain.states import SuppressionReason
from monitor.errors import DeliveryReason, Reason


@dataclass(frozen=True, slots=True)
class Format:
    """How a text is built, in the words of JSON Schema."""

    name: str


Moment = Annotated[str, Format("date-time")]


class Identity(TypedDict):
    """Which connection is meant."""

    account: Annotated[str, "the account of the configuration: one API key"]
    userId: Annotated[str | None, "the managed user; null: the owner of the key"]
    platform: Annotated[str, "the text before the first dash of the id"]
    platformId: Annotated[str, "as the API lists it; unique within an account and managed user"]
    name: Annotated[str | None, "from the configuration"]


class ConnectionFacts(Identity):
    """One connection and what is known of it."""

    displayName: Annotated[str | None, "as the API lists it"]
    username: Annotated[str | None, "as the platform has it"]
    labels: dict[str, str]
    health: Annotated[Health, "what is believed, after confirmation"]
    since: Annotated[Moment | None, "when that began"]
    reason: Annotated[Reason | None, "of the last check that told something"]
    detail: Annotated[str, "the platform's own words to it"]
    why: Annotated[str, "for people, empty when all is well; the wording may change"]
    suppressedBy: Annotated[str | None, "the wider trouble that keeps it from being known, such as `api:api.postpost.dev`"]
    openIncidents: Annotated[list[Topic], "the kinds of trouble that it has now"]
    consecutiveFailures: int
    lastCheckAt: Annotated[Moment | None, "the last check, whatever it told"]
    lastCheckReason: Reason | None
    lastConclusiveCheckAt: Annotated[Moment | None, "the last check that told something"]
    nextCheckAt: Annotated[Moment | None, "null where only the running monitor knows it"]
    lastSuccessfulPostAt: Moment | None
    expiresAt: Annotated[Moment | None, "when its token ends; null: never, or not known"]
    expiresUncertaintySeconds: Annotated[float | None, "by how much that may be off"]
    permissionsMissing: list[str]


class Pending(TypedDict):
    """Contrary evidence that is not yet confirmed."""

    health: Annotated[Health, "where it points to"]
    count: int
    firstAt: Moment


class TopicFacts(TypedDict):
    """One kind of trouble, now or before. A notification is owed while `notifiedLevel` differs from `level`."""

    level: Annotated[str, "`fine`: there is none"]
    since: Moment | None
    incident: Annotated[int, "the number of its last incident"]
    notifiedLevel: str
    notifiedAt: Moment | None
    reminders: int


class Details(TypedDict):
    """Why a connection is believed to be as it is, and why nobody was told."""

    suspectedFalseNegative: Annotated[bool, "a post succeeded after the first failed check"]
    pending: Pending | None
    suppression: Annotated[SuppressionReason, "why no notification was sent at the last evaluation"]
    topics: Annotated[dict[str, TopicFacts], "topic to what is known; only those that ever were in trouble"]


class Check(TypedDict):
    """One check."""

    at: Annotated[Moment, "when it ended"]
    outcome: Outcome
    reason: Reason
    words: Annotated[str, "the reason for people; the wording may change"]
    detail: Annotated[str, "the platform's own words"]
    durationSeconds: float
    httpStatus: int | None
    tokenExpiresIn: Annotated[str | None, "the API's own text"]


class UptimeFacts(TypedDict):
    """How much of a stretch of time a connection worked; the four lengths together are the stretch."""

    ratio: Annotated[float | None, "okSeconds of okSeconds and downSeconds; null: no time counts"]
    okSeconds: float
    downSeconds: float
    excludedSeconds: Annotated[float, "silenced, in an outage of something wider, or not testable"]
    unknownSeconds: Annotated[float, "nobody looked, or it is not added up yet"]


class DayUptimeFacts(UptimeFacts):
    """One day."""

    day: Annotated[str, Format("date"), "in UTC; the last one may not be over"]


class About(TypedDict):
    """What an incident or a delivery is about."""

    subject: Annotated[str, "the platform id, or the name of a wider scope such as `api:api.postpost.dev`"]
    account: Annotated[str | None, "null: it is wider than one connection"]
    userId: str | None
    platform: str | None


class Incident(About):
    """One period in which one kind of trouble held."""

    id: Annotated[int, "grows with time"]
    topic: Topic
    scope: Scope
    number: Annotated[int, "counts the incidents of this topic and subject"]
    level: str
    severity: Severity
    reason: Reason | None
    detail: str
    openedAt: Moment
    changedAt: Moment
    closedAt: Annotated[Moment | None, "null: it is open"]
    closedWhy: str | None


class ScopeIncident(TypedDict):
    """An open incident that is wider than one connection."""

    scope: Scope
    subject: Annotated[str, "such as `account:main`"]
    severity: Severity
    reason: Reason | None
    detail: str
    openedAt: Moment


class Delivery(About):
    """One notification for one receiver."""

    number: Annotated[int, "names it for `deliveries retry`; grows with time"]
    id: Annotated[str, "the `webhook-id` of every attempt"]
    receiver: str
    state: DeliveryState
    type: EventType
    why: NotificationReason
    severity: Severity
    incidentKey: str
    attempts: Annotated[int, "how many were made since it was queued"]
    queuedAt: Moment
    nextAttemptAt: Annotated[Moment, "while it is pending: not before this"]
    finishedAt: Moment | None
    inDigest: Annotated[int | None, "the number of the delivery that tells this one too, or that took the place of this reminder"]
    lastReason: DeliveryReason | None
    lastStatus: Annotated[int | None, "the HTTP status of the last attempt"]


class Attempt(TypedDict):
    """One try to tell a receiver."""

    at: Moment
    reason: DeliveryReason
    httpStatus: int | None
    durationSeconds: float
    detail: Annotated[str, "what came back, without the address"]


class Receiver(TypedDict):
    """What one receiver is owed."""

    pending: int
    oldestAt: Annotated[Moment | None, "since when the oldest of them waits"]
    failingSince: Moment | None
    disabled: Annotated[bool, "it said that it is gone (410)"]


class MaybeIdentity(TypedDict):
    """Which connection was asked about; all but the id is null when it is not watched."""

    account: str | None
    userId: str | None
    platform: str | None
    platformId: str
    name: str | None


class PreflightAnswer(TypedDict):
    """Whether a connection can be relied on for a post, and how old that knowledge is."""

    answer: Readiness
    why: Annotated[str, "for people; the wording may change"]
    knownAt: Annotated[Moment | None, "when it was last learned from the API how the connection is; null: never"]
    ageSeconds: Annotated[float | None, "how long ago that was"]
    live: Annotated[bool, "it was tested just now"]
    expiresAt: Annotated[Moment | None, "when its token ends, as far as known"]


class Preflight(MaybeIdentity, PreflightAnswer):
    """Whether a connection can be relied on for a post."""
