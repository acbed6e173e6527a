"""What every test gets: an Airflow home of its own, and Hypothesis without a clock.

The home is set before anything can import Airflow, so that no test ever touches the Airflow of the
person who runs it. Wall-clock deadlines are off: these machines are shared and noisy.
"""

import atexit
import os
import shutil
import signal
import tempfile

from hypothesis import HealthCheck, settings

_HOME = tempfile.mkdtemp(prefix="sop-tests-airflow-")
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)
for _name in [name for name in os.environ if name.startswith(("AIRFLOW_", "_AIRFLOW_"))]:
    del os.environ[_name]
os.environ["AIRFLOW_HOME"] = _HOME
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
os.environ["AIRFLOW__CORE__DAGS_FOLDER"] = os.path.join(_HOME, "dags")
os.environ["AIRFLOW__API_AUTH__JWT_SECRET"] = "a-secret-for-tests-of-sufficient-length-for-hs512-signatures-0123456789"
# A cluster or an engine of the person who runs the suite is not ours to use.
os.environ["AIRFLOW__SOP__RUNTIME"] = "local"
# Byte code matters: importing Airflow without it takes ten times as long in every child process.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# A shell that starts the suite in the background has it ignore Ctrl-C, and every child would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# `make test` asks for the thorough one; while one edits, fewer examples each time find the same over the day.
for _profile, _examples in (("quick", 20), ("thorough", 100)):
    settings.register_profile(
        _profile,
        deadline=None,
        max_examples=_examples,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
settings.load_profile(os.environ.get("SOP_HYPOTHESIS", "quick"))
