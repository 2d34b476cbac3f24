"""What Prometheus is told: counts kept here, everything else rendered from the snapshot when it is asked for."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import cast

from prometheus_client import CollectorRegistry, Counter, GCCollector, Histogram, Info, Metric, PlatformCollector, ProcessCollector
from prometheus_client.exposition import generate_latest as generate_text
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from monitor import __version__
from monitor.domain.reasons import outcome_of
from monitor.domain.snapshot import Snapshot
from monitor.errors import DeliveryReason, Reason
from monitor.metrics import definitions
from monitor.metrics.definitions import Family
from monitor.metrics.exposition import Exposition, Own

__all__ = ["OPENMETRICS", "TEXT", "Metrics", "kind_of", "wants_openmetrics"]

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

OTHER = "other"
MOST_PLATFORMS = 64
"""A platform is whatever stands before the dash of an id; an API that invents them makes no more series than this."""


class Metrics:
    """
    Counts what happens, and renders it together with a snapshot.

    Each has a registry of its own: nothing is global, and two of them in one process do not meet.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._registry = registry if registry is not None else CollectorRegistry()
        self._exposition = Exposition()
        self._own = Own()
        self._platforms: set[str] = set()
        self._checks = self._counter(definitions.CHECKS)
        self._check_seconds = self._histogram(definitions.CHECK_SECONDS)
        self._lag = self._histogram(definitions.LAG)
        self._missed = self._counter(definitions.MISSED)
        self._deliveries = self._counter(definitions.DELIVERIES)
        self._delivery_seconds = self._histogram(definitions.DELIVERY_SECONDS)
        self._rebuilds = self._counter(definitions.REBUILDS)
        self._jumps = self._counter(definitions.JUMPS)
        self._heartbeats = self._counter(definitions.HEARTBEATS)
        for result in ("sent", "failed", "withheld"):
            self._heartbeats.labels(result)
        build = Info(definitions.BUILD.name.removesuffix("_info"), definitions.BUILD.help, registry=self._registry)
        build.info({"version": __version__})
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def prepare(self, *, platforms: Iterable[str] = (), receivers: Iterable[str] = (), loops: Iterable[str] = ()) -> None:
        """
        Create every series that can come, at zero; called at the start and after a reload.

        Receivers and loops that are not among these are gone; counts of platforms stay.
        """
        for platform in platforms:
            self._prepare_platform(platform)
        gone = set(self._own.receivers) - set(kept := tuple(receivers))
        for result in DeliveryReason:
            for receiver in gone:
                self._deliveries.remove(receiver, result.value)
            for receiver in kept:
                self._deliveries.labels(receiver, result.value)
        steps = {name: at for name, at in self._own.loops.items() if name in set(loops)}
        self._own = replace(
            self._own, receivers=kept, loops=steps, gone={name: is_gone for name, is_gone in self._own.gone.items() if name in kept}
        )

    def check_concluded(self, platform: str, reason: Reason, duration_seconds: float) -> None:
        """A check of a connection of *platform* ended with *reason*; the API took *duration_seconds*."""
        self._prepare_platform(platform)
        known = platform if platform in self._platforms else OTHER
        self._checks.labels(known, outcome_of(reason).value, reason.value).inc()
        self._check_seconds.observe(duration_seconds)

    def check_lagged(self, seconds: float) -> None:
        """A check began *seconds* later than it was due."""
        self._lag.observe(max(0.0, seconds))

    def checks_missed(self, count: int) -> None:
        """*count* checks of one connection were left out because their turn had passed."""
        self._missed.inc(count)

    def delivery_attempted(self, receiver: str, reason: DeliveryReason, duration_seconds: float) -> None:
        """An attempt to tell *receiver* ended with *reason* after *duration_seconds*."""
        self._deliveries.labels(receiver, reason.value).inc()
        self._delivery_seconds.observe(duration_seconds)

    def receiver_gone(self, receiver: str, gone: bool) -> None:
        """*receiver* said that it is *gone*, or it did not, as far as the last attempt tells."""
        self._own = replace(self._own, gone={**self._own.gone, receiver: gone})

    def loop_stepped(self, loop: str, at: datetime) -> None:
        """The loop called *loop* finished a step at *at*."""
        self._own = replace(self._own, loops={**self._own.loops, loop: at})

    def config_reloaded(self, successful: bool, at: datetime) -> None:
        """The configuration was read at *at*, at the start or later, and taken over if *successful*."""
        self._own = replace(self._own, reloaded=successful, reloaded_at=at if successful else self._own.reloaded_at)

    def heart_beat(self, result: str, at: datetime) -> None:
        """A sign of life was due at *at*; *result* is `sent`, `failed` or `withheld`."""
        self._heartbeats.labels(result).inc()
        if result == "sent":
            self._own = replace(self._own, heartbeat_at=at)

    def client_rebuilt(self) -> None:
        """An HTTP client had got stuck and was replaced."""
        self._rebuilds.inc()

    def clock_jumped(self) -> None:
        """The wall clock jumped."""
        self._jumps.inc()

    def render(self, snapshot: Snapshot, now: datetime, *, openmetrics: bool = False) -> bytes:
        """Everything as one text: format 0.0.4, or OpenMetrics 1.0."""
        return b"".join(self.chunks(snapshot, now, openmetrics=openmetrics))

    def chunks(self, snapshot: Snapshot, now: datetime, *, openmetrics: bool = False) -> Iterator[bytes]:
        """The same in pieces; between two of them, which may be empty, others can run."""
        yield from self._exposition.chunks(snapshot, now, self._own, openmetrics=openmetrics)
        # Only `collect` is asked for, whatever its type says.
        registry = cast("CollectorRegistry", _WithoutCreated(self._registry))
        # Last, for it also ends an OpenMetrics text with its `# EOF`.
        yield generate_openmetrics(registry) if openmetrics else generate_text(registry)  # type: ignore[no-untyped-call]

    def _prepare_platform(self, platform: str) -> None:
        if platform in self._platforms:
            return
        label = platform if len(self._platforms) < MOST_PLATFORMS else OTHER
        if label not in self._platforms:
            for reason in Reason:
                self._checks.labels(label, outcome_of(reason).value, reason.value)
        if label == platform:
            self._platforms.add(platform)

    def _counter(self, family: Family) -> Counter:
        return Counter(family.name, family.help, family.labels, registry=self._registry)

    def _histogram(self, family: Family) -> Histogram:
        return Histogram(family.name, family.help, family.labels, unit=family.unit, registry=self._registry, buckets=family.buckets)


class _WithoutCreated:
    """A registry whose counters do not tell when they were made: a series each that nobody asks for."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        """The families of the registry, made anew for this call, so that they may be changed."""
        for family in self._registry.collect():
            family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
            yield family


def wants_openmetrics(accept: str) -> bool:
    """
    Whether a client that sends this `Accept` header is to get OpenMetrics 1.0: it names it, and likes it no less than plain text.

    Source: RFC 9110, 12.5.1; OpenMetrics 1.0, "Protocol negotiation".
    """
    openmetrics = plain = 0.0
    for offer in accept.split(","):
        media, *options = (part.strip().lower() for part in offer.split(";"))
        values = {name: value for name, _, value in (option.partition("=") for option in options)}
        if media == "application/openmetrics-text" and values.get("version", "1.0.0") in ("0.0.1", "1.0.0"):
            openmetrics = max(openmetrics, _weight(values.get("q", "1")))
        elif media in ("text/plain", "text/*", "*/*"):
            plain = max(plain, _weight(values.get("q", "1")))
    return openmetrics > 0 and openmetrics >= plain


def _weight(text: str) -> float:
    try:
        return min(1.0, max(0.0, float(text)))
    except ValueError:
        return 0.0
