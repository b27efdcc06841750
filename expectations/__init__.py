"""What a file must be, at both borders: one suite a file, suites are values."""
