"""What this kernel and machine can do, and what is in its /proc; no decisions."""
