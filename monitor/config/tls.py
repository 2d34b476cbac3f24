"""TLS of the web port: certificate and key from files, judged when the configuration is read and whenever the files change."""

import os
import ssl
from pathlib import Path
from typing import Literal, Protocol

from monitor.config.secrets import SecretProblem, check_file

CipherSuite = Literal[
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
]
CIPHERS: dict[str, str] = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
}
"""Go's name → OpenSSL's, of every suite of TLS 1.2 that is forward secret and authenticated."""

_VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
_VERIFICATION = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}


class _Tls(Protocol):
    """What `TlsServerSettings` says, paths absolute."""

    @property
    def cert_file(self) -> str: ...
    @property
    def key_file(self) -> str: ...
    @property
    def client_auth_type(self) -> str: ...
    @property
    def client_ca_file(self) -> str | None: ...
    @property
    def min_version(self) -> str: ...
    @property
    def max_version(self) -> str: ...
    @property
    def cipher_suites(self) -> tuple[CipherSuite, ...]: ...
    @property
    def prefer_server_cipher_suites(self) -> bool: ...


def server_context(tls: _Tls, *, credentials_directory: Path | None = None) -> ssl.SSLContext:
    """
    What new connections are encrypted with, read from the files afresh.

    Args:
        tls: paths are absolute.
        credentials_directory: where systemd has seen to the rights of files; None: `$CREDENTIALS_DIRECTORY`, if there is one.

    Raises:
        SecretProblem: a file can't be read or used, or its key is open to others; names the file.
    """
    handed_over = os.environ.get("CREDENTIALS_DIRECTORY")
    if credentials_directory is None and handed_over:
        credentials_directory = Path(handed_over)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version, context.maximum_version = _VERSIONS[tls.min_version], _VERSIONS[tls.max_version]
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    if tls.prefer_server_cipher_suites:
        context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    else:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    if tls.cipher_suites:
        context.set_ciphers(":".join(CIPHERS[name] for name in tls.cipher_suites))
    context.set_alpn_protocols(["http/1.1"])
    _load_certificate(context, Path(tls.cert_file), Path(tls.key_file), credentials_directory)
    if tls.client_ca_file is not None:
        _load_authorities(context, Path(tls.client_ca_file))
    context.verify_mode = _VERIFICATION[tls.client_auth_type]
    return context


def stamp_of(files: tuple[str, ...]) -> tuple[tuple[int, ...], ...]:
    """What changes when one of *files* is replaced or written; a missing one counts as empty."""
    return tuple(_stamp(file) for file in files)


def _stamp(file: str) -> tuple[int, ...]:
    try:
        status = Path(file).stat()
    except OSError:
        return ()
    return (status.st_mtime_ns, status.st_size, status.st_ino, status.st_dev)


def _load_certificate(context: ssl.SSLContext, certificate: Path, key: Path, credentials_directory: Path | None) -> None:
    _open_once(certificate, "the certificate")
    _open_once(key, "the key", secret=True, credentials_directory=credentials_directory)
    try:
        context.load_cert_chain(certificate, key, password=lambda: _encrypted(key))
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            message = f"the key {key} is not the one of the certificate {certificate}"
            raise SecretProblem(message, "name the two that were made together") from None
        message = f"{certificate} and {key} are not a certificate and its key in PEM form"
        raise SecretProblem(message, "both begin with a line -----BEGIN") from None
    except OSError as error:
        raise SecretProblem(f"{certificate} or {key} can't be read: {error.strerror}", "check who may read them") from None


def _load_authorities(context: ssl.SSLContext, authorities: Path) -> None:
    _open_once(authorities, "the clients' authority")
    try:
        context.load_verify_locations(cafile=authorities)
    except (ssl.SSLError, OSError):
        raise SecretProblem(
            f"{authorities} holds no certificate in PEM form", "it begins with a line -----BEGIN CERTIFICATE-----"
        ) from None


def _encrypted(key: Path) -> str:
    # OpenSSL would ask the terminal.
    raise SecretProblem(f"the key {key} is encrypted, and nobody is there to type its password", f"openssl pkey -in {key} -out plain.key")


def _open_once(path: Path, what: str, *, secret: bool = False, credentials_directory: Path | None = None) -> None:
    """See that *path* is a file that can be read, and if it is *secret*, by nobody else; OpenSSL's errors tell less, and a FIFO blocks it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise SecretProblem(f"{what} {path} can't be read: {error.strerror}", "check the path, and who may read it") from None
    try:
        status = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    check_file(path, status, credentials_directory, secret=secret)
