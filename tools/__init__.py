"""What developing and trying the project needs; no part of the distribution."""
