"""The port and the parameters of a PostgreSQL URL: libpq refuses wrong ones at every connection, as if the server were away."""

import re
from collections.abc import Mapping
from urllib.parse import unquote_plus

from monitor.config.problems import nearest

_HIGHEST_PORT = 65_535
_PROTOCOLS = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "sslnegotiation": ("postgres", "direct"),
    "sslcertmode": ("disable", "allow", "require"),
    "channel_binding": ("disable", "prefer", "require"),
    "gssencmode": ("disable", "prefer", "require"),
    "target_session_attrs": ("any", "read-write", "read-only", "primary", "standby", "prefer-standby"),
    "load_balance_hosts": ("disable", "random"),
    "ssl_min_protocol_version": _PROTOCOLS,
    "ssl_max_protocol_version": _PROTOCOLS,
}
_NUMBERS = frozenset(
    {
        "connect_timeout",
        "keepalives",
        "keepalives_idle",
        "keepalives_interval",
        "keepalives_count",
        "tcp_user_timeout",
        "sslcompression",
        "sslsni",
    }
)
_TEXTS = frozenset(
    [
        "application_name",
        "client_encoding",
        "dbname",
        "fallback_application_name",
        "gssdelegation",
        "gsslib",
        "host",
        "hostaddr",
        "krbsrvname",
        "max_protocol_version",
        "min_protocol_version",
        "oauth_client_id",
        "oauth_client_secret",
        "oauth_issuer",
        "oauth_scope",
        "options",
        "passfile",
        "password",
        "port",
        "replication",
        "require_auth",
        "requirepeer",
        "scram_client_key",
        "scram_server_key",
        "service",
        "sslcert",
        "sslcrl",
        "sslcrldir",
        "sslkey",
        "sslkeylogfile",
        "sslpassword",
        "sslrootcert",
        "user",
    ]
)
# With several hosts; user, password and name as `secret_files` allows them.
_WITH_HOSTS = re.compile(r"(postgresql(?:\+psycopg)?://(?:[^:/@]*(?::[^@]*)?@)?)([\w.:\[\]-]+(?:,[\w.:\[\]-]+)+)(/[^@?]*)?(?:\?(.*))?")
_HOST = re.compile(r"(?:\[(.+)\]|([^:]*))(?::(.*))?")
_PORT = ("has a port that does not exist", f"write a port from 1 to {_HIGHEST_PORT}, usually 5432")
_KNOWN = sorted({*_CHOICES, *_NUMBERS, *_TEXTS})


def with_hosts(url: str) -> str:
    """
    The PostgreSQL *url* with the hosts of `//one:5432,two:5432/name` as parameters, where SQLAlchemy reads them too.

    Of several servers a session needs the one that takes writes, unless the URL asks for another.
    """
    found = _WITH_HOSTS.fullmatch(url)
    if found is not None:
        hosts = [host for one in found[2].split(",") if (host := _HOST.fullmatch(one)) is not None]
        names, ports = ",".join(host[1] or host[2] for host in hosts), ",".join(host[3] or "5432" for host in hosts)
        url = f"{found[1]}{found[3] or '/'}?host={names}&port={ports}{'&' if found[4] else ''}{found[4] or ''}"
    query = unquote_plus(url.partition("?")[2])
    several = len(re.findall(r"(?:^|&)host=", query)) > 1 or re.search(r"(?:^|&)host=[^&]*,", query)
    return f"{url}&target_session_attrs=read-write" if several and "target_session_attrs=" not in query else url


def problem_after_host(rest: str) -> tuple[str, str] | None:
    """
    What is wrong with *rest*, which follows the host of a PostgreSQL URL, and what to do, without quoting it; None if nothing is.

    Source: https://www.postgresql.org/docs/18/libpq-connect.html#LIBPQ-PARAMKEYWORDS
    """
    place, _, query = rest.partition("?")
    port = re.match(r":([0-9]+)", place)
    if port is not None and not _is_port(port[1]):
        return _PORT
    parameters = [pair.partition("=") for pair in query.split("&") if pair]
    found = (_problem(unquote_plus(name), unquote_plus(value)) for name, _, value in parameters)
    return next((each for each in found if each is not None), None)


def _is_port(text: str) -> bool:
    return text.isdecimal() and 0 < int(text) <= _HIGHEST_PORT


def _problem(name: str, value: str) -> tuple[str, str] | None:
    if name not in _KNOWN:
        close = nearest(name, _KNOWN, cutoff=0.75)
        return "has a parameter that PostgreSQL does not know", f"did you mean {close}?" if close else "such as sslmode or connect_timeout"
    if (choices := _CHOICES.get(name)) is not None and value not in choices:
        close = nearest(value, choices)
        return f"has a value of {name} that PostgreSQL does not know", (
            f"did you mean {close}? " if close else ""
        ) + f"known: {', '.join(choices)}"
    if name in _NUMBERS and not re.fullmatch(r"-?[0-9]{1,9}", value):
        return f"has a value of {name} that is not a whole number", "write it without a unit"
    if name == "port" and not all(not each or _is_port(each) for each in value.split(",")):
        return _PORT
    return None
