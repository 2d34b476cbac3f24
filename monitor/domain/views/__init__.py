"""What is shown: the immutable snapshot, and what pages, API and command line make of it."""
