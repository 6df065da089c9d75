"""What each verb does that tells of a run afterwards: report, compare, verify."""
