"""
A simulated PostPost API and a webhook receiver: real sockets, faults on demand.

It shares no code with the client of the API, so that one mistake cannot be made in both.
"""
