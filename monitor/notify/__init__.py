"""Receiver types: from the stored document to one HTTP request, and from its response to a result. No I/O, no clock."""
