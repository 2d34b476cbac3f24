"""The watched API."""
