"""Drivers: what instruments and digitizers understand, and the services that speak to them."""
