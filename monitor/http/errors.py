"""The one table from library exceptions to our reasons."""

import errno
import os
import ssl
import traceback
from collections.abc import Callable

import aiohttp
import httpx
from aiohttp.http_exceptions import LineTooLong

from monitor.domain.delivery.retries import AttemptResult
from monitor.errors import ApiError, DeliveryReason, Reason

_HOSTNAME_MISMATCH = {62, 64}


def _failure(error: Exception, refusals: list[str]) -> AttemptResult:
    """What an attempt without an answer tells. Only fixed texts and the system's own words: a library's text may hold the address."""
    if refusals:
        return AttemptResult(
            DeliveryReason.ADDRESS_REFUSED, detail="its name leads to a link-local, cloud-metadata or denied private address"
        )
    cause = error.__cause__ if isinstance(error, httpx.HTTPError) and error.__cause__ is not None else error
    for kind, reason, text in _FAILURES:
        if isinstance(cause, kind):
            return AttemptResult(reason, detail=text if isinstance(text, str) else text(cause))
    return AttemptResult(DeliveryReason.INTERNAL, detail=f"the request could not be made ({type(error).__name__})")


def _bad_certificate(error: Exception) -> str:
    cause = getattr(error, "certificate_error", None)
    if not isinstance(cause, ssl.SSLCertVerificationError) or cause.verify_code in _HOSTNAME_MISMATCH:
        return "its certificate belongs to another name"
    return f"its certificate is not trusted: {cause.verify_message}"


def _no_connection(error: Exception) -> str:
    number = getattr(error, "errno", None)
    return f"no connection: {os.strerror(number) if number else 'the network refuses it'}"


# The first that fits counts: the libraries' narrow errors are wide ones too.
_FAILURES: tuple[tuple[type[Exception] | tuple[type[Exception], ...], DeliveryReason, str | Callable[[Exception], str]], ...] = (
    ((TimeoutError, httpx.TimeoutException), DeliveryReason.TIMEOUT, "no answer in time"),
    (aiohttp.ClientConnectorDNSError, DeliveryReason.UNREACHABLE, "its name cannot be resolved"),
    (aiohttp.ClientConnectorCertificateError, DeliveryReason.UNREACHABLE, _bad_certificate),
    (aiohttp.ClientConnectorSSLError, DeliveryReason.UNREACHABLE, "no encrypted connection can be agreed on"),
    (aiohttp.ClientConnectorError, DeliveryReason.UNREACHABLE, _no_connection),
    (
        (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError, httpx.InvalidURL, httpx.UnsupportedProtocol),
        DeliveryReason.ADDRESS_REFUSED,
        "its address cannot be used",
    ),
    ((aiohttp.ClientError, httpx.HTTPError, OSError), DeliveryReason.DISCONNECTED, "the connection broke off before a whole answer came"),
)

_OUR_ERRNOS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})

# OpenSSL's X509_V_ERR_ numbers.
_EXPIRED = 10
_CERTIFICATE_WORDS = {
    9: "its certificate is not valid yet",
    18: "its certificate is self-signed",
    19: "its certificate comes from an unknown authority",
    20: "its certificate comes from an unknown authority",
    62: "its certificate is for another host name",
    64: "its certificate is for another address",
}


def to_api_error(error: Exception, deadline: float, connect_seconds: float) -> ApiError:
    """A library's exception as one of ours; *deadline* and *connect_seconds* are the limits that may have passed."""
    if isinstance(error, ApiError):
        return error
    causes = _causes(error)
    for kinds, words in _EXPLANATIONS:
        for cause in causes:
            if isinstance(cause, kinds):
                return words(cause)
    if any(isinstance(cause, aiohttp.ServerTimeoutError) for cause in causes):
        return ApiError(Reason.API_TIMEOUT, f"no connection within {connect_seconds:g} s")
    if isinstance(error, TimeoutError):
        return ApiError(Reason.API_TIMEOUT, f"no complete answer within {deadline:g} s")
    return ApiError(Reason.MONITOR_INTERNAL, _place(causes[-1]))


def was_stale_connection(error: Exception) -> bool:
    """Whether the server had closed the connection before it answered anything on it."""
    causes = _causes(error)
    return not any(isinstance(cause, aiohttp.ClientConnectorError) for cause in causes) and any(
        isinstance(cause, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError) for cause in causes
    )


class _LookupFailed(OSError):
    """A host name could not be resolved; `words` says why."""

    def __init__(self, words: str) -> None:
        super().__init__(None, words)
        self.words = words


def _causes(error: BaseException) -> list[BaseException]:
    """An exception and what it was raised from, outermost first."""
    causes: list[BaseException] = []
    while error not in causes and len(causes) < 8:
        causes.append(error)
        error = error.__cause__ or error
    return causes


def _place(error: BaseException) -> str:
    """What went wrong and where, without the exception's text."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{where}"


def _unreachable(error: BaseException) -> ApiError:
    if isinstance(getattr(error, "os_error", None), ConnectionResetError | ConnectionAbortedError):
        # The connection was there: only a TLS handshake comes between that and the request.
        return ApiError(Reason.API_TLS_FAILED, "the TLS handshake was broken off")
    number = error.errno if isinstance(error, OSError) else None
    if number in _OUR_ERRNOS:
        return ApiError(Reason.MONITOR_INTERNAL, os.strerror(number))
    return ApiError(Reason.API_UNREACHABLE, os.strerror(number) if number else "no address answers")


def _certificate(error: BaseException) -> ApiError:
    cause = error.certificate_error if isinstance(error, aiohttp.ClientConnectorCertificateError) else error
    code = getattr(cause, "verify_code", 0)
    if code == _EXPIRED:
        return ApiError(Reason.API_TLS_EXPIRED, "its certificate has expired")
    return ApiError(Reason.API_TLS_FAILED, _CERTIFICATE_WORDS.get(code, f"its certificate is refused (code {code})"))


def _handshake(error: BaseException) -> ApiError:
    reason = getattr(getattr(error, "os_error", None), "reason", None)
    return ApiError(Reason.API_TLS_FAILED, f"no TLS connection ({reason or 'handshake failed'})")


def _malformed(error: BaseException) -> ApiError:
    if any(isinstance(cause, LineTooLong) for cause in _causes(error)):
        return ApiError(Reason.REPLY_TOO_LARGE, "the answer's headers are too large")
    return ApiError(Reason.REPLY_INVALID, "the answer is not HTTP")


def _lookup_failed(error: BaseException) -> ApiError:
    return ApiError(Reason.API_DNS_FAILED, error.words if isinstance(error, _LookupFailed) else "the name cannot be looked up")


def _broken(_: BaseException) -> ApiError:
    return ApiError(Reason.API_DISCONNECTED, "the connection broke before an answer came")


def _broken_off(_: BaseException) -> ApiError:
    return ApiError(Reason.API_DISCONNECTED, "the connection broke in the middle of the answer")


_EXPLANATIONS: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], Callable[[BaseException], ApiError]], ...] = (
    (_LookupFailed, _lookup_failed),
    (aiohttp.ClientConnectorDNSError, _lookup_failed),
    (aiohttp.ClientConnectorCertificateError, _certificate),
    (aiohttp.ClientConnectorSSLError, _handshake),
    (aiohttp.ClientConnectorError, _unreachable),
    (aiohttp.ClientPayloadError, _broken_off),
    (aiohttp.ClientResponseError, _malformed),
    ((aiohttp.ServerDisconnectedError, aiohttp.ClientOSError), _broken),
)
"""The narrower kind first."""
