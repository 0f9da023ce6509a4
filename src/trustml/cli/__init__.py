"""The command line: one file a command. Nothing here imports a framework, and little is imported at all."""
