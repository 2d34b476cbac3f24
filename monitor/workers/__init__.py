"""Loops that act."""
