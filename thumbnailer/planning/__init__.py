"""Header, settings and tier -> plan: pure decisions."""
