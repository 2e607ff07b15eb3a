"""Training: recipes, step plans, schedules and the one loop. It yields events and writes no file."""
