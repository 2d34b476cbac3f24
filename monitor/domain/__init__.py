"""The pure core: values in, values and a named reason out. No I/O, no clock, no randomness, no library."""
