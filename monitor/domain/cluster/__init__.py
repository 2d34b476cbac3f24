"""What the nodes of a cluster decide and tell each other, as values."""
