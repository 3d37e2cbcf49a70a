"""Attention turned by hand and checked: its algebra as functions, and what the heads of one's own model do."""
