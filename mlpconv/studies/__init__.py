"""Studies: questions about networks and recipes, answered by training runs that differ in one thing."""
