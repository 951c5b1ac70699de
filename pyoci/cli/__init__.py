"""The command line: one table of commands, one module a command, and everything that is printed."""
