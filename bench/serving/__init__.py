"""`python -m bench serve`: pictures on demand, from a folder over HTTP, against thumbor."""
