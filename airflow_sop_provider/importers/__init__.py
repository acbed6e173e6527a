"""Importers: procedures that others wrote, as SOPs, with an account of every step of theirs.

AWS SSM Automation documents (`ssm`), Cortex XSOAR playbooks (`xsoar`) and OASIS CACAO v2 playbooks (`cacao`) are read
into one small description of steps and edges (`flow`); from that comes the SOP (`assemble`) and the report.
"""
