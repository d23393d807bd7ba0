"""What the project measures, and against what; see the README beside this file."""
