"""Agents: steps of kind `agent`, decisions that ask, and whole SOPs in agent-centric mode, on Google ADK.

What an agent may do is decided here and enforced in code; what it is told is only there to help it. ADK takes a second
and 100 MB to import, so the modules that need it are imported by `run` alone, and a deterministic step imports none of
this package.
"""
