"""Silences, quiet hours and acknowledgements."""
