"""The figures of the design, measured: ``python -m benchmarks [NAME...] [--quick] [--json FILE]``.

Benchmarks are no tests: nothing here fails for being slow. What is compared is measured side by
side in one run, in turns, because figures of a shared machine from different hours cannot be
compared. CPU time is the processes' own (user and system), which a busy neighbour distorts least.

Start reading at `bench` (what a benchmark gets) and `report` (what it returns); then one module each.
"""
