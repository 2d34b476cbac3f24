"""The port that people and Prometheus look at. Its only writes are the requests of operators (`actions`)."""
