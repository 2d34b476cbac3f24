"""
Every metric by name, help, labels and buckets. All of it is public: a change is a line in the changelog.

An unknown value is an absent sample. Text that changes (names, usernames) is a label of `postpost_connection_info` alone.
What begins with `postpost_monitor_` is about this program; everything else is about what it watches and whom it notifies.
"""

from dataclasses import dataclass
from enum import StrEnum


class MetricType(StrEnum):
    """The types of metrics we use."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: its full name, what it means, its label names, and for histograms the upper bounds of its buckets."""

    kind: MetricType
    name: str
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def unit(self) -> str:
        """The unit in the name: seconds, or none."""
        return "seconds" if self.name.endswith("_seconds") else ""


_ONE = ("account", "user_id", "platform", "platform_id")
_INCIDENT = ("topic", "scope", "kind", "level", "severity", *_ONE)
# A request ends at its timeout, 30 s by default and five minutes at most, or a moment later.
_REQUEST_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 45.0, 60.0, 120.0, 360.0)
_LAG_SECONDS = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0)

_C = "postpost_connection_"
UP = Family(
    MetricType.GAUGE,
    f"{_C}up",
    "1 while the connection works, 0 while it is known not to; absent while that can't be known, or not tested.",
    _ONE,
)
HEALTH = Family(
    MetricType.GAUGE, f"{_C}health", "1 for the health that was confirmed last; other values have no series.", (*_ONE, "health")
)
EXPIRY = Family(
    MetricType.GAUGE, f"{_C}token_expiry_timestamp_seconds", "When the token expires, best estimate; absent when unknown.", _ONE
)
EXPIRES_IN = Family(
    MetricType.GAUGE, f"{_C}token_expires_in_seconds", "Seconds until the token expires, negative afterwards; absent when unknown.", _ONE
)
UNCERTAINTY = Family(
    MetricType.GAUGE,
    f"{_C}token_expiry_uncertainty_seconds",
    "By how much the expiry may be off to either side; absent when that is at most half a minute.",
    _ONE,
)
LAST_CHECK = Family(MetricType.GAUGE, f"{_C}last_check_timestamp_seconds", "When the last check ended, whatever its outcome.", _ONE)
LAST_CONCLUSIVE = Family(MetricType.GAUGE, f"{_C}last_conclusive_check_timestamp_seconds", "When the last conclusive check ended.", _ONE)
LAST_POST = Family(
    MetricType.GAUGE, f"{_C}last_successful_post_timestamp_seconds", "When the last post succeeded, according to the API.", _ONE
)
FAILURES = Family(
    MetricType.GAUGE, f"{_C}consecutive_failures", "Failed checks in a row; inconclusive ones do not count. Absent without any.", _ONE
)
INFO = Family(
    MetricType.INFO,
    f"{_C}info",
    "Names of the connection; labels of the configuration as label_<name>.",
    (*_ONE, "name", "username", "user_name"),
)

ACCOUNT_UP = Family(
    MetricType.GAUGE, "postpost_account_up", "Whether the API accepts the account's key; absent while unknown.", ("account",)
)
API_UP = Family(MetricType.GAUGE, "postpost_api_up", "Whether the API responds; absent while unknown.")
INCIDENT_OPEN = Family(
    MetricType.GAUGE, "postpost_incident_open", "1 for each open incident, with the labels of what it is about.", _INCIDENT
)
INCIDENT_NOTIFIED = Family(
    MetricType.GAUGE,
    "postpost_incident_notified",
    "1 for each open incident whose notification was decided, with its level, also while no route or receiver takes it.",
    ("monitor", *_INCIDENT, "receiver"),
)
INCIDENT_ACKNOWLEDGED = Family(
    MetricType.GAUGE, "postpost_incident_acknowledged", "1 for each open incident that an operator has acknowledged.", _INCIDENT
)
SILENCES = Family(MetricType.GAUGE, "postpost_silences", "Silences of operators that have not ended, by state.", ("state",))
PENDING = Family(MetricType.GAUGE, "postpost_outbox_pending", "Pending deliveries of the receiver.", ("receiver",))
OLDEST = Family(
    MetricType.GAUGE,
    "postpost_outbox_oldest_timestamp_seconds",
    "When the oldest pending delivery of the receiver was decided; absent when none is pending.",
    ("receiver",),
)
DISABLED = Family(
    MetricType.GAUGE, "postpost_receiver_disabled", "Whether deliveries to the receiver are disabled after HTTP 410.", ("receiver",)
)
FAILING = Family(
    MetricType.GAUGE, "postpost_receiver_failing", "Whether deliveries to the receiver fail, are refused, or are disabled.", ("receiver",)
)

UNMATCHED = Family(MetricType.GAUGE, "postpost_unmatched_matchers", "Matchers of routes and silences that match nothing known.")
LOAD = Family(
    MetricType.GAUGE,
    "postpost_account_required_request_ratio",
    "Requests per second that the checks of the account need, as a share of those that it may send; above 1 checks are late.",
    ("account",),
)
UNROUTED = Family(MetricType.COUNTER, "postpost_notifications_unrouted_total", "Notifications that no route matched: no receiver got them.")

_M = "postpost_monitor_"
ACTIVE = Family(
    MetricType.GAUGE, f"{_M}active", "Whether this instance checks and notifies: 0 on a standby, whose other values are absent."
)
CLUSTER_NODE = Family(
    MetricType.INFO, f"{_M}cluster_node_info", "This node of a cluster, and the hash of its configuration.", ("node", "version", "config")
)
CLUSTER_NODES = Family(MetricType.GAUGE, f"{_M}cluster_nodes", "Nodes with a valid lease, as this node sees it.")
CLUSTER_SHARDS = Family(MetricType.GAUGE, f"{_M}cluster_shards", "Accounts and receivers, and the shard global, that this node tends.")
CLUSTER_FREE = Family(
    MetricType.GAUGE, f"{_M}cluster_shards_free", "Shards that no node tends; only where this node tends the shard global."
)
CLUSTER_LEASE = Family(
    MetricType.GAUGE, f"{_M}cluster_lease_remaining_seconds", "For how long this node may send requests without another commit."
)
CLUSTER_CONFIG = Family(
    MetricType.GAUGE, f"{_M}cluster_config_current", "Whether this node has the configuration of the cluster; otherwise it takes no work."
)
CLUSTER_QUEUE = Family(MetricType.GAUGE, f"{_M}cluster_queue_up", "Whether this node waits for the jobs by which free shards are offered.")
CLUSTER_LOST = Family(MetricType.COUNTER, f"{_M}cluster_nodes_lost_total", "Leases of other nodes that this node found to have run out.")
STORAGE_UP = Family(MetricType.GAUGE, f"{_M}storage_up", "Whether the database accepts writes.")
LOOP_STEP = Family(
    MetricType.GAUGE, f"{_M}loop_last_step_timestamp_seconds", "When the loop last finished a step.", ("loop", "account", "receiver")
)
RELOADED = Family(MetricType.GAUGE, f"{_M}config_last_reload_successful", "Whether the configuration was applied when it was last read.")
RELOADED_AT = Family(MetricType.GAUGE, f"{_M}config_last_reload_success_timestamp_seconds", "When the configuration in use was applied.")
HEARTBEAT_FAILING = Family(
    MetricType.GAUGE,
    f"{_M}heartbeat_failing",
    "Whether the last heartbeat that was due was not accepted, or withheld; absent before the first.",
)
HEARTBEAT_AT = Family(
    MetricType.GAUGE, f"{_M}heartbeat_last_success_timestamp_seconds", "When the last heartbeat was accepted; absent before the first."
)

CHECKS = Family(
    MetricType.COUNTER, "postpost_checks_total", "Finished checks, by outcome and reason.", ("account", "platform", "outcome", "reason")
)
CHECK_SECONDS = Family(
    MetricType.HISTOGRAM, "postpost_check_duration_seconds", "How long the API took to respond to a check.", buckets=_REQUEST_SECONDS
)
DELIVERIES = Family(MetricType.COUNTER, "postpost_deliveries_total", "Delivery attempts, by result.", ("receiver", "result"))
DELIVERY_SECONDS = Family(
    MetricType.HISTOGRAM, "postpost_delivery_duration_seconds", "How long a delivery attempt took.", buckets=_REQUEST_SECONDS
)
LAG = Family(MetricType.HISTOGRAM, f"{_M}check_lag_seconds", "How much later than due a check began.", buckets=_LAG_SECONDS)
MISSED = Family(MetricType.COUNTER, f"{_M}checks_missed_total", "Checks skipped because the next one was due.")
REBUILDS = Family(MetricType.COUNTER, f"{_M}api_client_rebuilds_total", "HTTP transports replaced after internal errors.")
JUMPS = Family(MetricType.COUNTER, f"{_M}clock_jumps_total", "Detected jumps of the wall clock.")
HEARTBEATS = Family(MetricType.COUNTER, f"{_M}heartbeats_total", "Heartbeats that were due, by result.", ("result",))
BUILD = Family(
    MetricType.INFO, f"{_M}build_info", "Name of this monitor in notifications, and version of the program.", ("monitor", "version")
)

PER_CONNECTION = (UP, HEALTH, EXPIRY, UNCERTAINTY, LAST_CHECK, LAST_CONCLUSIVE, LAST_POST, FAILURES, INFO)
OVERALL = (
    ACCOUNT_UP,
    API_UP,
    INCIDENT_OPEN,
    INCIDENT_NOTIFIED,
    INCIDENT_ACKNOWLEDGED,
    SILENCES,
    CHECKS,
    PENDING,
    OLDEST,
    DISABLED,
    FAILING,
    UNMATCHED,
    LOAD,
    ACTIVE,
    CLUSTER_NODE,
    CLUSTER_NODES,
    CLUSTER_SHARDS,
    CLUSTER_FREE,
    CLUSTER_LEASE,
    CLUSTER_CONFIG,
    CLUSTER_QUEUE,
    CLUSTER_LOST,
    STORAGE_UP,
    LOOP_STEP,
    RELOADED,
    RELOADED_AT,
    HEARTBEAT_FAILING,
    HEARTBEAT_AT,
)
COUNTED = (CHECK_SECONDS, DELIVERIES, DELIVERY_SECONDS, UNROUTED, LAG, MISSED, REBUILDS, JUMPS, HEARTBEATS, BUILD)
ALL = (*PER_CONNECTION, EXPIRES_IN, *OVERALL, *COUNTED)
