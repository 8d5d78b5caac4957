"""Measured figures: every published number about speed or memory comes out of a script here."""
