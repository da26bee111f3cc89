"""Stand-ins of vendors' Python packages, for machines without their drivers."""
