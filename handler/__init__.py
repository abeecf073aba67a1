"""The doors to AWS: what comes in is turned into events, what goes out says which of them come back."""
