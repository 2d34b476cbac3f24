"""Nodes of a cluster as real processes on a real PostgreSQL server, killed, suspended and watched."""
