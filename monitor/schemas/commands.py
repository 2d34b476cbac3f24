"""What each verb prints with `--json`, as types for JSON Schema and tests. A removed key increases `facts.VERSION`."""

import json
from typing import Annotated, Any, Literal

from pydantic import Field
from typing_extensions import TypedDict

from monitor.db import DeliveryState
from monitor.domain.events import EventType, NotificationReason, Severity
from monitor.domain.projections.preflight import Readiness
from monitor.domain.projections.replay import Change
from monitor.domain.reasons import Outcome
from monitor.domain.silencing.silences import SilenceState
from monitor.domain.views.status import DisplayStatus, OverallState
from monitor.errors import DeliveryReason, Reason
from monitor.schemas.shapes import (
    AckedBy,
    Attempt,
    Check,
    ConnectionFacts,
    Delivery,
    Details,
    ForecastNotification,
    HeartbeatFacts,
    Identity,
    Incident,
    Moment,
    Preflight,
    Receiver,
    ScopeIncident,
    SuspectedScopeFacts,
    json_schemas,
)


class Document(TypedDict):
    """What every document has."""

    version: Annotated[str, Field(description="increases when something is removed or changes its meaning")]


class Dated(Document):
    """What every document has that shows a state."""

    at: Annotated[Moment, Field(description="when it was made")]


class Handled(TypedDict):
    """What operators did about it."""

    ackedBy: Annotated[AckedBy | None, Field(description="who acknowledged it; null: nobody")]
    silencedUntil: Annotated[Moment | None, Field(description="until when its notifications are silenced; null: they are not")]
    escalatesAt: Annotated[Moment | None, Field(description="when it is escalated next unless it is acknowledged; null: never")]


class StatusConnection(ConnectionFacts, Handled):
    """One connection, what it is shown as, and what operators did about it."""

    displayStatus: DisplayStatus


class ListedIncident(Incident, Handled):
    """One incident with the key that `ack` takes."""

    name: Annotated[str | None, Field(description="the name of its connection; null: it is about a scope")]
    incidentKey: str


class StatusDocument(Dated):
    """`status --json`."""

    state: Annotated[OverallState, Field(description="the overall state of all connections")]
    summary: Annotated[str, Field(description="the sentence at the top of the status page; the wording may change")]
    counts: Annotated[dict[str, int], Field(description="health to how many of those listed have it")]
    apiUp: bool | None
    accounts: Annotated[dict[str, bool | None], Field(description="account to whether the API accepts its key; null: not known")]
    scopeIncidents: list[ScopeIncident]
    suspectedScopes: Annotated[list[SuspectedScopeFacts], Field(description="scopes that seem to fail, without an incident yet")]
    receivers: dict[str, Receiver]
    heartbeat: Annotated[HeartbeatFacts | None, Field(description="null: none is configured, or none was due yet")]
    connections: Annotated[list[StatusConnection], Field(description="the worst first")]


class HistoryDocument(Dated):
    """`history ID --json`."""

    connection: Identity
    checks: Annotated[list[Check], Field(description="the newest first")]


class IncidentsDocument(Dated):
    """`incidents --json`."""

    incidents: Annotated[list[ListedIncident], Field(description="the newest first; with --open the worst first")]


class ExplainedDelivery(TypedDict):
    """One delivery of a notification with its attempts."""

    number: int
    receiver: str
    state: DeliveryState
    attempts: list[Attempt]


class ExplainedNotification(TypedDict):
    """One notification with its deliveries."""

    id: Annotated[str, Field(description="the `webhook-id`")]
    incidentKey: str
    at: Moment
    type: EventType
    why: NotificationReason
    severity: Severity
    deliveries: list[ExplainedDelivery]


class Paragraph(TypedDict):
    """Text for people; it may change."""

    title: str
    lines: list[str]


class ExplainDocument(Dated, Details):
    """`explain ID --json`."""

    connection: ConnectionFacts
    retired: Annotated[bool, Field(description="it is no longer watched")]
    notifications: Annotated[list[ExplainedNotification], Field(description="the newest first")]
    explanation: list[Paragraph]


class PreflightDocument(Dated):
    """`preflight ID... --json`."""

    answer: Annotated[Readiness, Field(description="of all together")]
    connections: list[Preflight]


class ForecastDocument(Dated):
    """`forecast --json`."""

    until: Moment
    total: Annotated[int, Field(description="how many notifications")]
    notifications: Annotated[list[ForecastNotification], Field(description="the first of them, in order of time")]


class Tested(Identity):
    """The result of testing one connection."""

    username: str | None
    outcome: Outcome
    reason: Reason
    detail: Annotated[str, Field(description="the platform's message")]
    tokenExpiresIn: Annotated[str | None, Field(description="the API's own text")]  # noqa: N815 - JSON has it so
    advice: Annotated[str, Field(description="for people, empty when there is nothing to do")]


class CheckDocument(Dated):
    """`check --json`."""

    connections: list[Tested]
    problems: Annotated[list[str], Field(description="lists of connections that could not be read")]


class DeliveriesDocument(Dated):
    """`deliveries list --json`."""

    deliveries: Annotated[list[Delivery], Field(description="the newest first")]


class RetryDocument(Document):
    """`deliveries retry --json`."""

    retried: Annotated[int, Field(description="how many were put back")]
    numbers: list[int]


class SilenceFacts(TypedDict):
    """One silence of an operator."""

    number: int
    state: SilenceState
    match: dict[str, str]
    startsAt: Moment
    endsAt: Moment
    expiredAt: Annotated[Moment | None, Field(description="when an operator ended it")]
    author: str
    reason: str
    createdAt: Moment
    covers: Annotated[int, Field(description="how many connections it covers now")]


class Recurring(TypedDict):
    """A silence of the configuration."""

    name: str
    match: dict[str, str]
    activeUntil: Annotated[Moment | None, Field(description="null: it is not active")]
    nextStartsAt: Moment | None
    covers: Annotated[int, Field(description="how many connections it covers now")]


class SilenceAddDocument(Document):
    """`silence add --json`."""

    silence: SilenceFacts
    connections: Annotated[int, Field(description="how many it covers")]
    warning: Annotated[str | None, Field(description="that it covers every connection; null: it does not")]


class SilenceListDocument(Dated):
    """`silence list --json`."""

    silences: list[SilenceFacts]
    recurring: list[Recurring]


class SilenceExtendDocument(Document):
    """`silence extend --json`."""

    silence: SilenceFacts


class SilenceExpireDocument(Document):
    """`silence expire --json`."""

    expired: list[int]


class AckDocument(Document):
    """`ack --json`."""

    acknowledged: Annotated[list[str], Field(description="incident keys")]


class PermissionsAcceptDocument(Document):
    """`permissions accept --json`."""

    connection: Annotated[str, Field(description="platform id")]
    account: Annotated[str, Field(description="the account, or account/user")]
    accepted: Annotated[list[str], Field(description="permissions that are no longer required")]
    required: Annotated[list[str], Field(description="missing ones that the configuration requires")]


class ReceiversTestDocument(Document):
    """`receivers test --json`."""

    receiver: str
    type: str
    id: Annotated[str, Field(description="the `webhook-id`")]
    delivered: bool
    reason: DeliveryReason
    httpStatus: int | None
    durationSeconds: float
    detail: str
    enabled: Annotated[bool, Field(description="it counted as failing or disabled before, and no longer does")]


class ReceiversEnableDocument(Document):
    """`receivers enable --json`."""

    receiver: str
    enabled: Annotated[bool, Field(description="false: it was neither disabled nor paused")]


class HeartbeatTestDocument(Document):
    """`heartbeat test --json`."""

    accepted: bool
    reason: DeliveryReason
    detail: str


class PassedRoute(TypedDict):
    """A route that does not take the notification."""

    route: Annotated[str, Field(description="its matchers")]
    because: str


class RoutesTestDocument(Document):
    """`routes test --json`."""

    facts: Annotated[dict[str, str], Field(description="what matchers apply to")]
    passed: Annotated[list[PassedRoute], Field(description="the routes before the one that takes it")]
    route: Annotated[str | None, Field(description="the matchers of the route that takes it")]
    receivers: list[str]
    suppressedBy: str | None
    suppressedUntil: str | None
    reminderSeconds: float | None
    escalateAfterSeconds: float | None
    escalateTo: list[str]


class Counted(TypedDict):
    """How many notifications of one type, or of one severity."""

    name: str
    present: int
    other: int


class ReplayedNotification(TypedDict):
    """One notification as a policy decides it."""

    at: Moment
    type: EventType
    why: NotificationReason
    severity: Severity
    level: str
    reason: Reason | None
    subject: Annotated[str, Field(description="the platform id, or a scope")]
    account: str | None
    userId: str | None
    platform: str | None


class ReplayedDifference(TypedDict):
    """One difference between the policies."""

    change: Change
    present: Annotated[ReplayedNotification | None, Field(description="null: the present policy does not send it")]
    other: Annotated[ReplayedNotification | None, Field(description="null: the other policy does not send it")]


class ReplayedHistory(TypedDict):
    """The present policy, replayed, compared with the stored notifications."""

    decided: int
    notInChecks: Annotated[int, Field(description="stored, but not derived from a check")]
    notReplayed: list[ReplayedNotification]
    onlyReplayed: list[ReplayedNotification]


class ReplayDocument(Document):
    """`replay --json`."""

    since: Moment
    until: Moment
    oldestCheckAt: Moment | None
    policy: Annotated[str | None, Field(description="the file; null: the present policy alone")]
    checks: int
    connections: int
    stops: Annotated[int, Field(description="how often the monitor did not run")]
    counts: list[Counted]
    differences: list[ReplayedDifference]
    really: ReplayedHistory


class ConfigProblem(TypedDict):
    """One problem of a configuration."""

    location: Annotated[str, Field(description="file:line")]
    message: str
    fix: str


class ConfigCheckDocument(Document):
    """`config check --json`."""

    ok: bool
    problems: list[ConfigProblem]
    warnings: list[ConfigProblem]


class DatabaseDocument(Document):
    """`db upgrade`, `db check`, `db backup`, `db copy`, `cluster drain` and `cluster adopt`, each with `--json`."""

    done: Annotated[str, Field(description="for people; the wording may change")]


class ClusterNode(TypedDict):
    """One node of a cluster."""

    node: str
    state: Literal["working", "unfit", "drained", "pages only", "other configuration", "lost"]
    host: str
    url: str | None
    version: str
    config: Annotated[str, Field(description="what its configuration means, as a hash")]
    weight: float
    joined_at: Moment | None
    shards: list[str]


class ClusterStatusDocument(Document):
    """`cluster status --json`."""

    config: Annotated[str | None, Field(description="the hash of the current configuration")]
    own_config: Annotated[str, Field(description="the hash of the configuration of this machine")]
    nodes: list[ClusterNode]
    free: Annotated[list[str], Field(description="shards without a node")]
    problems: list[str]


DOCUMENTS: dict[str, Any] = {
    "check": CheckDocument,
    "preflight": PreflightDocument,
    "forecast": ForecastDocument,
    "status": StatusDocument,
    "history": HistoryDocument,
    "incidents": IncidentsDocument,
    "explain": ExplainDocument,
    "silence add": SilenceAddDocument,
    "silence list": SilenceListDocument,
    "silence extend": SilenceExtendDocument,
    "silence expire": SilenceExpireDocument,
    "ack": AckDocument,
    "permissions accept": PermissionsAcceptDocument,
    "deliveries list": DeliveriesDocument,
    "deliveries retry": RetryDocument,
    "receivers test": ReceiversTestDocument,
    "receivers enable": ReceiversEnableDocument,
    "heartbeat test": HeartbeatTestDocument,
    "routes test": RoutesTestDocument,
    "replay": ReplayDocument,
    "config check": ConfigCheckDocument,
    "cluster status": ClusterStatusDocument,
    "cluster drain": DatabaseDocument,
    "cluster adopt": DatabaseDocument,
    "db upgrade": DatabaseDocument,
    "db check": DatabaseDocument,
    "db backup": DatabaseDocument,
    "db copy": DatabaseDocument,
}
"""Verb to what it prints with `--json`."""


def json_schema() -> dict[str, Any]:
    """One schema for all verbs: each has its name among `$defs`."""
    verbs, named = json_schemas(DOCUMENTS, "#/$defs/")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What postpost-monitor prints with --json",
        "description": "Validate the output of a verb against the schema of its name: #/$defs/status, #/$defs/silence list, and so on.",
        "$defs": {**named, **verbs},
    }


def as_text() -> str:
    """The schema as a file."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
