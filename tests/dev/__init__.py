"""Tests of what stands behind `make`."""
