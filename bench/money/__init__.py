"""Prices, costs and advice."""
