"""Held in memory across transactions."""
