"""
Every metric by name, help, labels and buckets. All of it is public: a change is a line in the changelog.

An unknown value is an absent sample. Text that changes (names, usernames) is a label of `postpost_connection_info` alone.
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


_ONE = ("account", "platform", "platform_id")
_REQUEST_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_LAG_SECONDS = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0)

_C = "postpost_connection_"
UP = Family(
    MetricType.GAUGE, f"{_C}up", "1 while the connection works, 0 while it is known not to; absent while unknown or not testable.", _ONE
)
HEALTH = Family(MetricType.GAUGE, f"{_C}health", "1 for the current health, 0 for the others.", (*_ONE, "health"))
EXPIRY = Family(
    MetricType.GAUGE, f"{_C}token_expiry_timestamp_seconds", "When the token expires, best estimate; absent when unknown.", _ONE
)
EXPIRES_IN = Family(
    MetricType.GAUGE,
    f"{_C}token_expires_in_seconds",
    "Whole seconds from the scrape until the token expires; negative after it.",
    _ONE,
)
UNCERTAINTY = Family(
    MetricType.GAUGE, f"{_C}token_expiry_uncertainty_seconds", "By how much the expiry may be off to either side; 0 when exact.", _ONE
)
LAST_CHECK = Family(MetricType.GAUGE, f"{_C}last_check_timestamp_seconds", "When the last check ended, whatever its outcome.", _ONE)
LAST_CONCLUSIVE = Family(MetricType.GAUGE, f"{_C}last_conclusive_check_timestamp_seconds", "When the last conclusive check ended.", _ONE)
LAST_POST = Family(
    MetricType.GAUGE, f"{_C}last_successful_post_timestamp_seconds", "When the last post succeeded, according to the API.", _ONE
)
FAILURES = Family(MetricType.GAUGE, f"{_C}consecutive_failures", "Failed checks in a row; inconclusive ones do not count.", _ONE)
INFO = Family(
    MetricType.INFO,
    f"{_C}info",
    "Names of the connection; labels of the configuration as label_<name>.",
    (*_ONE, "user_id", "name", "username"),
)

ACCOUNT_UP = Family(
    MetricType.GAUGE, "postpost_account_up", "Whether the API accepts the account's key; absent while unknown.", ("account",)
)
API_UP = Family(MetricType.GAUGE, "postpost_api_up", "Whether the API responds; absent while unknown.")
STORAGE_UP = Family(MetricType.GAUGE, "postpost_storage_up", "Whether the monitor's own database accepts writes.")
INCIDENTS = Family(
    MetricType.GAUGE,
    "postpost_incidents_open",
    "Open incidents: of one connection by topic, wider ones by scope.",
    ("topic", "scope", "severity"),
)
PENDING = Family(MetricType.GAUGE, "postpost_outbox_pending", "Pending deliveries of the receiver.", ("receiver",))
OLDEST = Family(
    MetricType.GAUGE,
    "postpost_outbox_oldest_timestamp_seconds",
    "When the oldest pending delivery was decided; absent when none is pending.",
)
DISABLED = Family(
    MetricType.GAUGE, "postpost_receiver_disabled", "Whether deliveries to the receiver are disabled after HTTP 410.", ("receiver",)
)
FAILING = Family(
    MetricType.GAUGE, "postpost_receiver_failing", "Whether deliveries to the receiver fail, are refused, or are disabled.", ("receiver",)
)
UNMATCHED = Family(MetricType.GAUGE, "postpost_unmatched_matchers", "Matchers of routes and silences that match nothing known.")
LOOP_STEP = Family(MetricType.GAUGE, "postpost_loop_last_step_timestamp_seconds", "When the loop last finished a step.", ("loop",))
RELOADED = Family(
    MetricType.GAUGE, "postpost_config_last_reload_successful", "Whether the configuration was applied when it was last read."
)
RELOADED_AT = Family(
    MetricType.GAUGE, "postpost_config_last_reload_success_timestamp_seconds", "When the configuration in use was applied."
)

HEARTBEAT_AT = Family(
    MetricType.GAUGE, "postpost_heartbeat_last_success_timestamp_seconds", "When the last heartbeat was accepted; absent before the first."
)

CHECKS = Family(MetricType.COUNTER, "postpost_checks_total", "Finished checks, by outcome and reason.", ("platform", "outcome", "reason"))
CHECK_SECONDS = Family(
    MetricType.HISTOGRAM, "postpost_check_duration_seconds", "How long the API took to respond to a check.", buckets=_REQUEST_SECONDS
)
LAG = Family(MetricType.HISTOGRAM, "postpost_check_lag_seconds", "How much later than due a check began.", buckets=_LAG_SECONDS)
MISSED = Family(MetricType.COUNTER, "postpost_checks_missed_total", "Checks skipped because the next one was due.")
DELIVERIES = Family(MetricType.COUNTER, "postpost_deliveries_total", "Delivery attempts, by result.", ("receiver", "result"))
DELIVERY_SECONDS = Family(
    MetricType.HISTOGRAM, "postpost_delivery_duration_seconds", "How long a delivery attempt took.", buckets=_REQUEST_SECONDS
)
UNROUTED = Family(MetricType.COUNTER, "postpost_notifications_unrouted_total", "Notifications that no route matched: no receiver got them.")
REBUILDS = Family(MetricType.COUNTER, "postpost_api_client_rebuilds_total", "HTTP transports replaced after internal errors.")
JUMPS = Family(MetricType.COUNTER, "postpost_clock_jumps_total", "Detected jumps of the wall clock.")
HEARTBEATS = Family(MetricType.COUNTER, "postpost_heartbeats_total", "Heartbeats sent, by result.", ("result",))
BUILD = Family(MetricType.INFO, "postpost_build_info", "Version of the program.", ("version",))

PER_CONNECTION = (UP, HEALTH, EXPIRY, EXPIRES_IN, UNCERTAINTY, LAST_CHECK, LAST_CONCLUSIVE, LAST_POST, FAILURES, INFO)
OVERALL = (
    ACCOUNT_UP,
    API_UP,
    STORAGE_UP,
    INCIDENTS,
    PENDING,
    OLDEST,
    DISABLED,
    FAILING,
    UNMATCHED,
    LOOP_STEP,
    RELOADED,
    RELOADED_AT,
    HEARTBEAT_AT,
)
COUNTED = (CHECKS, CHECK_SECONDS, LAG, MISSED, DELIVERIES, DELIVERY_SECONDS, UNROUTED, REBUILDS, JUMPS, HEARTBEATS, BUILD)
ALL = PER_CONNECTION + OVERALL + COUNTED
