"""Several nodes that share the accounts and receivers of one configuration, on one PostgreSQL database."""
