"""The one table from exceptions of the transport to our reasons, for checks and for deliveries."""

import errno
import os
import socket
import ssl
import traceback
from enum import Enum, auto

import httpx

from monitor.domain.delivery.retries import AttemptResult
from monitor.errors import ApiError, DeliveryReason, Reason


class Failure(Enum):
    """What kept a request from a complete response."""

    ADDRESS_REFUSED = auto()
    ADDRESS_INVALID = auto()
    LOOKUP = auto()
    UNREACHABLE = auto()
    TLS = auto()
    TLS_EXPIRED = auto()
    TIMEOUT = auto()
    DISCONNECTED = auto()
    MALFORMED = auto()
    TOO_LARGE = auto()
    INTERNAL = auto()


_REASONS: dict[Failure, tuple[Reason, DeliveryReason]] = {
    Failure.ADDRESS_REFUSED: (Reason.API_UNREACHABLE, DeliveryReason.ADDRESS_REFUSED),
    Failure.ADDRESS_INVALID: (Reason.MONITOR_INTERNAL, DeliveryReason.ADDRESS_REFUSED),
    Failure.LOOKUP: (Reason.API_DNS_FAILED, DeliveryReason.UNREACHABLE),
    Failure.UNREACHABLE: (Reason.API_UNREACHABLE, DeliveryReason.UNREACHABLE),
    Failure.TLS: (Reason.API_TLS_FAILED, DeliveryReason.UNREACHABLE),
    Failure.TLS_EXPIRED: (Reason.API_TLS_EXPIRED, DeliveryReason.UNREACHABLE),
    Failure.TIMEOUT: (Reason.API_TIMEOUT, DeliveryReason.TIMEOUT),
    Failure.DISCONNECTED: (Reason.API_DISCONNECTED, DeliveryReason.DISCONNECTED),
    Failure.MALFORMED: (Reason.REPLY_INVALID, DeliveryReason.DISCONNECTED),
    Failure.TOO_LARGE: (Reason.REPLY_TOO_LARGE, DeliveryReason.DISCONNECTED),
    Failure.INTERNAL: (Reason.MONITOR_INTERNAL, DeliveryReason.INTERNAL),
}


class HttpError(Exception):
    """A request without a complete response. *detail*: fixed words or the system's own; a library's text may hold the address or a key."""

    def __init__(self, failure: Failure, detail: str) -> None:
        super().__init__(detail)
        self.failure = failure
        self.detail = detail


class BrokenOffError(HttpError):
    """A request that was broken off, or not sent, because the lease of this instance has run out: no evidence of anything."""

    def __init__(self) -> None:
        super().__init__(Failure.DISCONNECTED, "broken off: the lease of this instance has run out")


def to_api_error(error: Exception) -> ApiError:
    """Return *error*, raised by a request to the API, as one of ours."""
    if isinstance(error, ApiError):
        return error
    known = _to_http_error(error)
    return ApiError(_REASONS[known.failure][0], known.detail)


def to_attempt_result(error: Exception) -> AttemptResult:
    """Return *error*, raised by a request to a receiver, as the result of the attempt."""
    known = _to_http_error(error)
    return AttemptResult(_REASONS[known.failure][1], detail=known.detail, broken_off=isinstance(known, BrokenOffError))


def _to_http_error(error: Exception) -> HttpError:
    if isinstance(error, HttpError):
        return error
    if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol):
        return HttpError(Failure.ADDRESS_INVALID, "its address cannot be used")
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else ""
    return HttpError(Failure.INTERNAL, f"{type(error).__name__}{place}")


def lookup_error(error: Exception) -> HttpError:
    """Return what a failed name lookup means."""
    if not isinstance(error, socket.gaierror):
        return HttpError(Failure.LOOKUP, "the name cannot be looked up")
    unknown = error.errno in (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))
    return HttpError(Failure.LOOKUP, "the name does not exist" if unknown else "the name servers do not answer")


_OUR_ERRNOS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})


def connect_error(error: OSError) -> HttpError:
    """Return what a failed TCP connect means."""
    if error.errno in _OUR_ERRNOS:
        return HttpError(Failure.INTERNAL, os.strerror(error.errno))
    return HttpError(Failure.UNREACHABLE, os.strerror(error.errno) if error.errno else "no address answers")


# OpenSSL's X509_V_ERR_ numbers.
_EXPIRED = 10
_CERTIFICATE_DETAILS = {
    9: "its certificate is not valid yet",
    18: "its certificate is self-signed",
    19: "its certificate comes from an unknown authority",
    20: "its certificate comes from an unknown authority",
    62: "its certificate is for another host name",
    64: "its certificate is for another address",
}


def tls_error(error: OSError) -> HttpError:
    """Return what a failed TLS handshake means."""
    if isinstance(error, ssl.SSLCertVerificationError):
        code = error.verify_code
        if code == _EXPIRED:
            return HttpError(Failure.TLS_EXPIRED, "its certificate has expired")
        return HttpError(Failure.TLS, _CERTIFICATE_DETAILS.get(code, f"its certificate is refused (code {code})"))
    if isinstance(error, ssl.SSLError):
        return HttpError(Failure.TLS, f"no TLS connection ({error.reason or 'handshake failed'})")
    return HttpError(Failure.TLS, "the TLS handshake was broken off")
