"""A simulated PostPost API and a webhook receiver: real sockets, faults on demand, no code shared with the client of the API."""
