"""Prometheus metrics: counters are kept here, everything else is rendered from the snapshot at the scrape."""

import zlib
from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from itertools import accumulate
from typing import cast

from prometheus_client import CollectorRegistry, Counter, GCCollector, Info, Metric, PlatformCollector, ProcessCollector
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.exposition import generate_latest as generate_text
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from monitor import __version__
from monitor.domain.views.snapshot import Snapshot
from monitor.errors import DeliveryReason, Reason
from monitor.metrics import definitions
from monitor.metrics.definitions import Family
from monitor.metrics.exposition import ConnectionLines, Exposition, ProcessState, overall

__all__ = ["OPENMETRICS", "TEXT", "Metrics", "wants_openmetrics"]

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_GZIP = 31
"""Window bits of zlib: the largest window, in the format of gzip."""

OTHER = "other"
MOST_PLATFORMS = 64
"""A platform is the part of an id before the dash; an API that invents ids makes no more series than this."""


class Metrics:
    """Counters and histograms, rendered together with a snapshot. Each instance has a registry of its own."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._registry = registry if registry is not None else CollectorRegistry()
        self._exposition = Exposition()
        self._compressed = {False: _CompressedLines(), True: _CompressedLines()}
        self._platforms: set[str] = set()
        self._checks: Tally[tuple[str, str, Reason]] = Tally()
        self._own = ProcessState(checks=self._checks)
        self._check_seconds = self._histogram(definitions.CHECK_SECONDS)
        self._lag = self._histogram(definitions.LAG)
        self._missed = self._counter(definitions.MISSED)
        self._deliveries = self._counter(definitions.DELIVERIES)
        self._delivery_seconds = self._histogram(definitions.DELIVERY_SECONDS)
        self._unrouted = self._counter(definitions.UNROUTED)
        self._rebuilds = self._counter(definitions.REBUILDS)
        self._jumps = self._counter(definitions.JUMPS)
        self._heartbeats = self._counter(definitions.HEARTBEATS)
        for result in ("sent", "failed", "withheld"):
            self._heartbeats.labels(result)
        self._build = Info(definitions.BUILD.name.removesuffix("_info"), definitions.BUILD.help, registry=self._registry)
        self._build.info({"version": __version__})
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def prepare(self, *, monitor: str = "", accounts: Iterable[str] = (), receivers: Iterable[str] = (), loops: Iterable[str] = ()) -> None:
        """Take over the names of the configuration, at the start and after a reload; series of other names are removed."""
        self._build.info({"monitor": monitor, "version": __version__})
        removed = set(self._own.receivers) - set(kept := tuple(receivers))
        for result in DeliveryReason:
            for receiver in removed:
                self._deliveries.remove(receiver, result.value)
            for receiver in kept:
                self._deliveries.labels(receiver, result.value)
        left = {account for account, _, _ in self._checks} - set(accounts)
        for key in [key for key in self._checks if key[0] in left]:
            del self._checks[key]
        steps = {name: at for name, at in self._own.loops.items() if name in set(loops)}
        self._own = replace(
            self._own,
            monitor=monitor,
            receivers=kept,
            loops=steps,
            disabled={name: disabled for name, disabled in self._own.disabled.items() if name in kept},
        )

    def check_concluded(self, account: str, platform: str, reason: Reason, duration_seconds: float) -> None:
        """Count a check of a connection of *account* and *platform* that ended with *reason*; the API took *duration_seconds*."""
        if platform not in self._platforms:
            platform = self._add_platform(platform)
        self._checks[account, platform, reason] += 1
        self._check_seconds.observe(duration_seconds)

    def check_lagged(self, seconds: float) -> None:
        """Record that a check began *seconds* later than due."""
        self._lag.observe(max(0.0, seconds))

    def checks_missed(self, count: int) -> None:
        """Count *count* checks of one connection that were skipped because the next one was due."""
        self._missed.inc(count)

    def delivery_attempted(self, receiver: str, reason: DeliveryReason, duration_seconds: float) -> None:
        """Count a delivery attempt that ended with *reason* after *duration_seconds*."""
        self._deliveries.labels(receiver, reason.value).inc()
        self._delivery_seconds.observe(duration_seconds)

    def receiver_disabled(self, receiver: str, disabled: bool) -> None:
        """Record whether deliveries to *receiver* are disabled."""
        self._own = replace(self._own, disabled={**self._own.disabled, receiver: disabled})

    def loops_stepped(self, steps: Mapping[str, datetime]) -> None:
        """Record when each loop, by its name, finished a step."""
        self._own = replace(self._own, loops={**self._own.loops, **steps})

    def config_reloaded(self, successful: bool, at: datetime) -> None:
        """Record that the configuration was read at *at*, and applied if *successful*."""
        self._own = replace(self._own, reloaded=successful, reloaded_at=at if successful else self._own.reloaded_at)

    def heart_beat(self, result: str, at: datetime) -> None:
        """Count a heartbeat that was due at *at*; *result* is `sent`, `failed` or `withheld`."""
        self._heartbeats.labels(result).inc()
        self._own = replace(self._own, heartbeat_failing=result != "sent")
        if result == "sent":
            self._own = replace(self._own, heartbeat_at=at)

    def notification_unrouted(self) -> None:
        """Count a notification that no route matched."""
        self._unrouted.inc()

    def client_rebuilt(self) -> None:
        """Count an HTTP transport that was replaced."""
        self._rebuilds.inc()

    def clock_jumped(self) -> None:
        """Count a jump of the wall clock."""
        self._jumps.inc()

    def render(self, snapshot: Snapshot, now: datetime, *, openmetrics: bool = False, gzip: bool = False) -> bytes:
        """Return everything as one text: format 0.0.4, or OpenMetrics 1.0."""
        return b"".join(self.chunks(snapshot, now, openmetrics=openmetrics, gzip=gzip))

    def chunks(self, snapshot: Snapshot, now: datetime, *, openmetrics: bool = False, gzip: bool = False) -> Iterator[bytes]:
        """Yield the same in pieces, some empty; between two of them other tasks can run."""
        # What the active instance exports would otherwise be there twice.
        lines = yield from self._exposition.update(replace(snapshot, connections=()) if snapshot.active else snapshot)
        rest = self._rest(lines, snapshot, now, openmetrics=openmetrics)
        if gzip:
            yield from self._compressed[openmetrics].chunks(lines, rest, openmetrics=openmetrics)
        else:
            yield from lines.pieces(openmetrics=openmetrics)
            yield from rest

    def _rest(self, lines: ConnectionLines, snapshot: Snapshot, now: datetime, *, openmetrics: bool) -> Iterator[bytes]:
        """Yield everything but the lines of connections: what differs at every scrape."""
        yield from lines.expires_in(now, openmetrics=openmetrics)
        yield from overall(snapshot, self._own, now, openmetrics=openmetrics)
        # Only `collect` is called, whatever its type says.
        registry = cast("CollectorRegistry", _WithoutCreated(self._registry))
        # Last, for it also ends an OpenMetrics text with its `# EOF`.
        yield generate_openmetrics(registry) if openmetrics else generate_text(registry)  # type: ignore[no-untyped-call]

    def _add_platform(self, platform: str) -> str:
        """Count checks of *platform* under its own name, or with the rest when there are too many."""
        if len(self._platforms) >= MOST_PLATFORMS:
            return OTHER
        self._platforms.add(platform)
        return platform

    def _counter(self, family: Family) -> Counter:
        return Counter(family.name, family.help, family.labels, registry=self._registry)

    def _histogram(self, family: Family) -> "_Histogram":
        histogram = _Histogram(family)
        self._registry.register(histogram)
        return histogram


class _Histogram(Collector):
    """A histogram without labels. The library's takes a lock for each bucket, sum and count: two of them were 2 % of a check."""

    def __init__(self, family: Family) -> None:
        self._family = family
        self._counts = [0] * (len(family.buckets) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count *value*; called on the event loop only."""
        self._counts[bisect_left(self._family.buckets, value)] += 1
        self._sum += value

    def collect(self) -> Iterator[Metric]:
        """Yield the family of this moment."""
        bounds = map(floatToGoString, (*self._family.buckets, float("inf")))
        buckets = list(zip(bounds, accumulate(self._counts), strict=True))
        yield HistogramMetricFamily(self._family.name, self._family.help, buckets, self._sum, unit=self._family.unit)


class _CompressedLines:
    """The lines of the connections, compressed; made again only when one of them differs."""

    def __init__(self) -> None:
        self._kept: tuple[int, bytes, zlib._Compress] | None = None

    def chunks(self, lines: ConnectionLines, rest: Iterable[bytes], *, openmetrics: bool) -> Iterator[bytes]:
        """Yield one gzip stream of *lines* and *rest*, in pieces."""
        kept = self._kept
        if kept is None or kept[0] != lines.version:
            # The fastest level: it takes half the time of the usual one for a tenth more bytes.
            compressor, pieces = zlib.compressobj(1, wbits=_GZIP), []
            for piece in lines.pieces(openmetrics=openmetrics):
                pieces.append(compressor.compress(piece))
                yield b""
            pieces.append(compressor.flush(zlib.Z_SYNC_FLUSH))
            self._kept = kept = (lines.version, b"".join(pieces), compressor)
        _, compressed, compressor = kept
        yield compressed
        continued = compressor.copy()
        for piece in rest:
            yield continued.compress(piece)
        yield continued.flush()


class _WithoutCreated:
    """A registry without the `_created` series of its counters."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        """Yield the families of the registry; they are made for this call and may be changed."""
        for family in self._registry.collect():
            family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
            yield family


def wants_openmetrics(accept: str) -> bool:
    """
    Whether a client with this `Accept` header gets OpenMetrics 1.0: it names it with at least the weight of plain text.

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
