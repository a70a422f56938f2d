"""Which slides there are. Records in and out; opens no slide."""
