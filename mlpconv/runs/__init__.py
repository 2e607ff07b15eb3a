"""Run directories: training written down, and what one can do with it afterwards."""
