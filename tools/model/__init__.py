"""A real small model on this machine, without a network: weights, a server for them, and their care.

For development and the tests that need a model which really reasons. Nothing of it is a dependency of the product, is
part of an extra, or is imported by anything here: the weights are data, the server is a program.
"""
