"""Which notifications and which connections the words of the configuration mean."""
