"""The tests' own PostgreSQL server."""

import psycopg

from tests.postgres import PostgresServer


def test_database_is_empty_and_private(postgres_server: PostgresServer, empty_postgres_url: str) -> None:
    """Two databases of one server know nothing of each other's tables."""
    other = postgres_server.create_database()
    with psycopg.connect(empty_postgres_url) as connection:
        connection.execute("CREATE TABLE mine (id int)")
    with psycopg.connect(other) as connection:
        tables = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
    postgres_server.drop_database(other)

    assert tables == (0,)


def test_template_is_copied(postgres_server: PostgresServer, empty_postgres_url: str) -> None:
    """A database made from a template has the template's rows."""
    with psycopg.connect(empty_postgres_url) as connection:
        connection.execute("CREATE TABLE filled AS SELECT 7 AS value")
    copy = postgres_server.create_database(template=empty_postgres_url.rsplit("/", 1)[1])
    with psycopg.connect(copy) as connection:
        row = connection.execute("SELECT value FROM filled").fetchone()
    postgres_server.drop_database(copy)

    assert row == (7,)
