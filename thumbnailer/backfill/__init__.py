"""Backfill and reconcile: which sources lack thumbnails, and what making them costs."""
