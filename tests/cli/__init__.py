"""Tests of the command line and of the SOPs that ship."""
