"""What a reload changes in the rows of accounts and receivers."""
