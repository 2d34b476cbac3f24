"""What is known of a token's end, and when it is close."""
