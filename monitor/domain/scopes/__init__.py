"""What a cause covers: API, account, user, platform."""
