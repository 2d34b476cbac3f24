"""A PostgreSQL server on another machine: who answers is verified without a word in the address."""

import pwd
import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import trustme

from monitor.config.secret_files import read_database_url
from tests.postgres import PostgresServer, start_postgres
from tests.waiting import eventually_sync

pytestmark = pytest.mark.slow

HOST = "db.example.test"


def _with_tls(server: PostgresServer, authority: trustme.CA) -> None:
    """From now on *server* speaks TLS with a certificate of *authority* for HOST."""
    certificate = authority.issue_cert(HOST)
    key, chain = server.folder / "key.pem", server.folder / "chain.pem"
    certificate.private_key_pem.write_to_path(key)
    certificate.cert_chain_pems[0].write_to_path(chain)
    owner = pwd.getpwuid(server.folder.stat().st_uid)
    for path in (key, chain):
        path.chmod(0o600)
        shutil.chown(path, owner.pw_uid, owner.pw_gid)
    for name, value in {"ssl_cert_file": chain, "ssl_key_file": key, "ssl": "on"}.items():
        server.run(f"ALTER SYSTEM SET {name} = '{value}'")
    server.run("SELECT pg_reload_conf()")

    def has_tls() -> bool:
        with psycopg.connect(server.url("postgres"), sslmode="prefer") as connection:
            return bool(connection.pgconn.ssl_in_use)

    eventually_sync(has_tls, what="TLS")


def _connect(address: str, folder: Path) -> bool:
    """Whether the connection to the *address* in a file, as the configuration takes it, is encrypted."""
    (folder / "url").write_text(address)
    (folder / "url").chmod(0o600)
    with psycopg.connect(read_database_url(folder / "url", {}).reveal()) as connection:
        return bool(connection.pgconn.ssl_in_use)


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """A server of its own: the others speak no TLS."""
    started = start_postgres()
    try:
        yield started
    finally:
        started.stop()


def test_verified(server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate of the system's authorities for the name of the host is accepted; another authority and another name are not."""
    authority, other = trustme.CA(), trustme.CA()
    for name, issuer in {"system.pem": authority, "other.pem": other}.items():
        issuer.cert_pem.write_to_path(tmp_path / name)
    _with_tls(server, authority)
    address = server.url("postgres").replace("127.0.0.1", HOST) + "?hostaddr=127.0.0.1"
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "system.pem"))

    assert _connect(address, tmp_path)
    for refused in (f"{address}&sslrootcert={tmp_path}/other.pem", address.replace(HOST, "another.example.test")):
        with pytest.raises(psycopg.OperationalError, match="certificate"):
            _connect(refused, tmp_path)
