"""
The shapes of the parts of documents, and JSON Schema of shapes: the published schemas are made of the types that mypy checks.

Source: OpenAPI 3.1.1, 4.8.24 (its schemas are JSON Schema 2020-12); PEP 589, PEP 593.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema
from typing_extensions import TypedDict

from monitor.db import DeliveryState
from monitor.domain.events import EventType, NotificationReason, Severity, Topic
from monitor.domain.projections.preflight import Readiness
from monitor.domain.reasons import Health, Outcome, Scope
from monitor.domain.states import SuppressionReason
from monitor.errors import DeliveryReason, Reason

Moment = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
Schema = dict[str, Any]


class Identity(TypedDict):
    """The connection."""

    account: Annotated[str, Field(description="the account of the configuration: one API key")]
    userId: Annotated[str | None, Field(description="the managed user; null: the owner of the key")]
    userName: Annotated[str | None, Field(description="what the configuration calls the managed user")]
    platform: Annotated[str, Field(description="the text before the first dash of the id")]
    platformId: Annotated[str, Field(description="as the API lists it; unique within an account and managed user")]
    name: Annotated[str | None, Field(description="from the configuration")]


class ConnectionFacts(Identity):
    """One connection and what is known of it."""

    displayName: Annotated[str | None, Field(description="as the API lists it")]
    username: Annotated[str | None, Field(description="as the platform has it")]
    labels: dict[str, str]
    health: Annotated[Health, Field(description="the confirmed state")]
    since: Annotated[Moment | None, Field(description="when it began")]
    reason: Annotated[Reason | None, Field(description="of the last conclusive check")]
    detail: Annotated[str, Field(description="the platform's message")]
    why: Annotated[str, Field(description="for people, empty when all is well; the wording may change")]
    suppressedBy: Annotated[str | None, Field(description="the open scope incident above it, such as `api:api.postpost.dev`")]
    openIncidents: Annotated[list[Topic], Field(description="the topics of its open incidents")]
    consecutiveFailures: int
    lastCheckAt: Annotated[Moment | None, Field(description="the last check, inconclusive ones included")]
    lastCheckReason: Reason | None
    lastConclusiveCheckAt: Annotated[Moment | None, Field(description="the last check that was not inconclusive")]
    nextCheckAt: Annotated[Moment | None, Field(description="null where only the running monitor knows it")]
    lastSuccessfulPostAt: Moment | None
    expiresAt: Annotated[Moment | None, Field(description="when its token expires; null: never, or unknown")]
    expiresUncertaintySeconds: Annotated[float | None, Field(description="by how much that may be off")]
    permissionsMissing: list[str]


class Pending(TypedDict):
    """Contrary evidence that is not yet confirmed."""

    health: Annotated[Health, Field(description="the health that it points to")]
    count: int
    firstAt: Moment


class TopicFacts(TypedDict):
    """One topic. A notification is pending while `notifiedLevel` differs from `level`."""

    level: Annotated[str, Field(description="`fine`: no incident is open")]
    since: Moment | None
    incident: Annotated[int, Field(description="the number of its last incident")]
    notifiedLevel: str
    notifiedAt: Moment | None
    reminders: int


class Details(TypedDict):
    """The evidence for the state of a connection, and its topics."""

    suspectedFalseNegative: Annotated[bool, Field(description="a post succeeded after the first failed check")]
    pending: Pending | None
    suppression: Annotated[SuppressionReason, Field(description="why no notification was sent at the last evaluation")]
    topics: Annotated[dict[str, TopicFacts], Field(description="topic to its state; only those that ever had an incident")]


class Check(TypedDict):
    """One check."""

    at: Annotated[Moment, Field(description="when it ended")]
    outcome: Outcome
    reason: Reason
    words: Annotated[str, Field(description="the reason for people; the wording may change")]
    detail: Annotated[str, Field(description="the platform's message")]
    durationSeconds: float
    httpStatus: int | None
    tokenExpiresIn: Annotated[str | None, Field(description="the API's own text")]


class UptimeFacts(TypedDict):
    """The uptime of a connection in a period; the four durations add up to the period."""

    ratio: Annotated[float | None, Field(description="okSeconds of okSeconds and downSeconds; null: no time counts")]
    okSeconds: float
    downSeconds: float
    excludedSeconds: Annotated[float, Field(description="silenced, during a scope incident, or not testable")]
    unknownSeconds: Annotated[float, Field(description="not checked, or not added up yet")]


class DayUptimeFacts(UptimeFacts):
    """One day."""

    day: Annotated[str, Field(description="in UTC; the last one may not be over", json_schema_extra={"format": "date"})]


class About(TypedDict):
    """The subject of an incident or a delivery."""

    subject: Annotated[str, Field(description="the platform id, or a scope such as `api:api.postpost.dev`")]
    account: Annotated[str | None, Field(description="null: the subject is a scope")]
    userId: str | None
    platform: str | None


class Expiry(Identity):
    """The end of a token."""

    displayName: str | None
    expiresAt: Moment
    expiresUncertaintySeconds: Annotated[float | None, Field(description="how much earlier or later it may be; null: not known")]
    renews: Annotated[bool, Field(description="it has been renewed automatically so far")]


class Incident(About):
    """One incident."""

    id: Annotated[int, Field(description="increases with time")]
    topic: Topic
    scope: Scope
    number: Annotated[int, Field(description="counts the incidents of this topic and subject")]
    level: str
    severity: Severity
    reason: Reason | None
    detail: str
    openedAt: Moment
    changedAt: Moment
    closedAt: Annotated[Moment | None, Field(description="null: it is open")]
    closedWhy: str | None


class ScopeIncident(TypedDict):
    """An open scope incident."""

    scope: Scope
    subject: Annotated[str, Field(description="such as `account:main`")]
    severity: Severity
    reason: Reason | None
    detail: str
    openedAt: Moment


class SuspectedScopeFacts(TypedDict):
    """A scope that seems to fail, which is not confirmed yet."""

    scope: Scope
    subject: Annotated[str, Field(description="such as `api:api.postpost.dev`")]
    since: Annotated[Moment, Field(description="the first failure")]
    reason: Annotated[Reason | None, Field(description="of the last failure; null: not known yet")]


class SilenceSummary(TypedDict):
    """A silence that is not over."""

    number: Annotated[int, Field(description="as for `silence expire`")]
    match: Annotated[dict[str, str], Field(description="what a notification must match")]
    startsAt: Moment
    endsAt: Moment
    author: str
    reason: str


class AckedBy(TypedDict):
    """The acknowledgement of an open incident."""

    author: str
    at: Moment
    reason: str


class HandledIncident(Incident):
    """One incident, and what operators did about it."""

    incidentKey: Annotated[str, Field(description="what acknowledges it; the same in every notification about it")]
    ackedBy: Annotated[AckedBy | None, Field(description="null: it is closed, or nobody acknowledged it")]
    silencedUntil: Annotated[Moment | None, Field(description="null: it is closed, or not silenced")]
    escalatesAt: Annotated[Moment | None, Field(description="when it is escalated next unless it is acknowledged; null: never")]


class Delivery(About):
    """One notification for one receiver."""

    number: Annotated[int, Field(description="as for `deliveries retry`; increases with time")]
    id: Annotated[str, Field(description="the `webhook-id` of every attempt")]
    receiver: str
    state: DeliveryState
    type: EventType
    why: NotificationReason
    severity: Severity
    incidentKey: str
    attempts: Annotated[int, Field(description="how many were made since it was queued")]
    queuedAt: Moment
    nextAttemptAt: Annotated[Moment, Field(description="while it is pending: not before this")]
    finishedAt: Moment | None
    inDigest: Annotated[int | None, Field(description="the number of the delivery that includes this one, or that replaced this reminder")]
    lastReason: DeliveryReason | None
    lastStatus: Annotated[int | None, Field(description="the HTTP status of the last attempt")]


class Attempt(TypedDict):
    """One attempt of a delivery."""

    at: Moment
    reason: DeliveryReason
    httpStatus: int | None
    durationSeconds: float
    detail: Annotated[str, Field(description="the response, without the address")]


class Receiver(TypedDict):
    """The pending deliveries of one receiver."""

    pending: int
    oldestAt: Annotated[Moment | None, Field(description="when the oldest of them was queued")]
    failingSince: Moment | None
    disabled: Annotated[bool, Field(description="it answered HTTP 410 several times in a row")]
    refusing: Annotated[bool, Field(description="it refuses every message")]


class HeartbeatFacts(TypedDict):
    """The heartbeats to an outside monitor."""

    problem: Annotated[str | None, Field(description="why the last one was withheld or not accepted; null: it was accepted")]
    acceptedAt: Annotated[Moment | None, Field(description="when one was accepted last, as far as is known")]


class MaybeIdentity(TypedDict):
    """The requested connection; all but the id is null when it is not watched."""

    account: str | None
    userId: str | None
    userName: str | None
    platform: str | None
    platformId: str
    name: str | None


class PreflightAnswer(TypedDict):
    """Whether a connection can be relied on for a post, and how old that knowledge is."""

    answer: Readiness
    why: Annotated[str, Field(description="for people; the wording may change")]
    knownAt: Annotated[Moment | None, Field(description="when the API last gave the state of the connection; null: never")]
    ageSeconds: Annotated[float | None, Field(description="how long ago that was")]
    live: Annotated[bool, Field(description="it was tested just now")]
    expiresAt: Annotated[Moment | None, Field(description="when its token expires, as far as known")]


class ForecastNotification(TypedDict):
    """One notification that is sent if nobody does anything."""

    connections: Annotated[list[Identity], Field(description="what it is about; several when they fail together")]
    at: Annotated[Moment, Field(description="about when")]
    type: EventType
    why: NotificationReason
    severity: Severity
    text: Annotated[str, Field(description="for people; the wording may change")]
    receivers: Annotated[list[str], Field(description="who gets it")]
    message: Annotated[int, Field(description="the message that tells it, counted from 1; those with one number come together")]


class Preflight(MaybeIdentity, PreflightAnswer):
    """Whether a connection can be relied on for a post."""


class SchemaGenerator(GenerateJsonSchema):
    """Schemas without titles, with `null` as one more type."""

    def field_title_should_be_set(self, schema: object) -> bool:  # noqa: ARG002 - the library's signature
        """Return False: the name of a key is enough."""
        return False

    def nullable_schema(self, schema: core_schema.NullableSchema) -> Schema:
        """The schema of a value that may be null."""
        inner = self.generate_inner(schema["schema"])
        return {**inner, "type": [inner["type"], "null"]} if "type" in inner else {"anyOf": [inner, {"type": "null"}]}


def json_schemas(kinds: Mapping[str, Any], references: str) -> tuple[dict[str, Schema], dict[str, Schema]]:
    """
    The schema of each of *kinds*, by its key, and the named schemas that they refer to.

    Args:
        kinds: key -> a shape.
        references: where the named schemas will be, such as `#/$defs/`.
    """
    inputs: list[tuple[str, Literal["serialization"], TypeAdapter[Any]]] = [
        (key, "serialization", TypeAdapter(kind)) for key, kind in kinds.items()
    ]
    schemas, definitions = TypeAdapter.json_schemas(inputs, ref_template=f"{references}{{model}}", schema_generator=SchemaGenerator)
    return {key: schema for (key, _), schema in schemas.items()}, {name: _named(schema) for name, schema in definitions["$defs"].items()}


def _named(schema: Schema) -> Schema:
    """A named schema without its title, described by the first paragraph of the docstring."""
    summary = " ".join(schema["description"].split("\n\n")[0].split())
    return {**{key: value for key, value in schema.items() if key != "title"}, "description": summary}
