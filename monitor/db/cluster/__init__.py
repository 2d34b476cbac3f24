"""The rows of a cluster: its nodes, and what they tell each other."""
