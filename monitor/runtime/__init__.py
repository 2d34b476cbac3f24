"""Keeps the process alive."""
