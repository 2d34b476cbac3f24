"""The decision to notify, and the notification."""
