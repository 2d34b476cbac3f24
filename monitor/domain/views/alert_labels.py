"""The name and the labels that identify an alert, the same in the rules of `deploy/prometheus` and for type `alertmanager`."""

from typing import NamedTuple

from monitor.domain import topics
from monitor.domain.delivery.receiver_outages import DISABLED, FAILING, REFUSING
from monitor.domain.events import Topic
from monitor.domain.reasons import Scope
from monitor.domain.scopes.key import LIMIT, LIST, RATE, SERVICE, ScopeKey

CHANGED = "changed"

_TOPICS = {
    Topic.RENEWAL: "TokenRenewalOverdue",
    Topic.PUBLISHING: "PublishingFailing",
    Topic.PERMISSIONS: "PermissionsLost",
}
_LEVELS = {"missing": "Missing", "misconfigured": "Misconfigured", topics.STALE: "Stale", topics.FLAPPING: "Flapping"}
_SCOPES = {Scope.API: "ApiDown", Scope.STORAGE: "StorageDown"}
_KINDS = {SERVICE: "AccountServiceFailed", RATE: "AccountThrottled", LIMIT: "ApiThrottled", LIST: "InventoryChanged"}


class IncidentLabels(NamedTuple):
    """The labels of an incident, in their order; empty where they do not apply."""

    topic: str
    scope: str
    kind: str = ""
    level: str = ""
    severity: str = ""
    account: str = ""
    user_id: str = ""
    platform: str = ""
    platform_id: str = ""
    receiver: str = ""

    @classmethod
    def of_scope(cls, subject: str, scope: Scope, level: str, severity: str) -> "IncidentLabels":
        """Those of the incident of *scope*, whose *subject* is its key."""
        key = ScopeKey.parse(subject)
        kind = key.kind if key.kind != scope.value else ""
        receiver = key.name if scope is Scope.RECEIVER else ""
        # Whether it refuses messages or does not answer is no other alert.
        level = CHANGED if kind == LIST else FAILING if level == REFUSING else level
        return cls(Topic.SCOPE.value, scope.value, kind, level, severity, key.account, key.user, key.platform, "", receiver)


def alert_name(labels: IncidentLabels) -> str:
    """Return the name of the alert about the incident with these *labels*."""
    topic, scope = Topic(labels.topic), Scope(labels.scope)
    if topic is Topic.SCOPE:
        if scope is Scope.RECEIVER:
            return "PostpostReceiverDisabled" if labels.level == DISABLED else "PostpostReceiverFailing"
        return f"Postpost{_KINDS.get(labels.kind) or _SCOPES.get(scope) or scope.value.capitalize() + 'Failed'}"
    if topic is Topic.EXPIRY:
        return "PostpostTokenExpired" if labels.level == topics.EXPIRED else "PostpostTokenExpiring"
    return f"Postpost{_TOPICS.get(topic) or 'Connection' + _LEVELS.get(labels.level, 'Down')}"
