"""The port that people and Prometheus look at. It only ever reads."""
