"""What pages and API both show."""
