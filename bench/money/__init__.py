"""What a measured cell costs, and which memory, batch size and platform to choose (`python -m bench advise`)."""
