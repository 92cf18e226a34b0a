"""Files of any size valued in shards: read, predict, write under a temporary name, rename."""
