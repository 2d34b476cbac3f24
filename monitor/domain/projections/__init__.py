"""What would happen: the engine run over stored checks, over the coming days, or for one post."""
