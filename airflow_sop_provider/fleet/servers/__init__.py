"""MCP servers that ship with the project; each is a program of its own (README.md in this folder)."""
