"""The command line: commands that run the hub, and commands that ask a running one."""
