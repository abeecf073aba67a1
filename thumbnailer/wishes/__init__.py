"""Which picture a URL asks for, who may ask for it, and what an HTTP client is told about it.

Each grammar is one module with `parse(path, query, site) -> Wish`. All modules here are pure.
"""
