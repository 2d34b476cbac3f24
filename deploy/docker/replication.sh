#!/bin/bash
# Run once by the image of the primary server: lets the replica in, and has every commit wait for it from the next start on.
set -euo pipefail
echo "host replication monitor all scram-sha-256" >>"$PGDATA/pg_hba.conf"
psql --username="$POSTGRES_USER" --dbname="$POSTGRES_DB" --command="ALTER SYSTEM SET synchronous_standby_names = 'replica'"
