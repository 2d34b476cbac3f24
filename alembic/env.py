"""
Runs the migrations on the connection, and inside the transaction, that the caller hands over.

A migration is history and the program moves on: nothing here, and nothing in `versions`, imports it.
"""

from alembic import context

connection = context.config.attributes.get("connection")
if connection is None:
    raise SystemExit("the migrations need a connection: run `postpost-monitor db upgrade`")

# With the default settings SQLite would commit each statement by itself, and a crash in between could not be repaired.
context.configure(connection=connection, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
