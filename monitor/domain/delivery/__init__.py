"""Retries, digests and receivers that fail."""
