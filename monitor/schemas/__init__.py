"""The JSON documents of API, command line and published schemas."""
