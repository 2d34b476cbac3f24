"""What the API answers, as values, and what it means."""
