"""Behind `make`: the environment, a local Airflow with our executor, and the limits of CI.

Start reading at `environment` (the virtual environment), `run` (`make run`) and `instance` (the
local Airflow's folder, which tests and benchmarks use, too).
"""
