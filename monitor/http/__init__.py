"""One way out, for the API client and for the receivers."""
