"""What every room stands on: configuration, database, errors, facts, jobs, access, telemetry."""
