"""The fault table: what is done to a whole system while it records, and what it must do then."""
