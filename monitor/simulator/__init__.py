"""
A simulated PostPost and a webhook receiver to rehearse with: real sockets, faked causes.

`SimulatorServer` serves a `World` over HTTP as the documented API does, lies included. It shares no code with the
reading side of the monitor, so that one mistake cannot hide in both.
"""
