"""The operators: which pods they make of a job, and when they take it for done."""
