"""SQUID electronics."""
