"""What Airflow's components tell us; registered by the plugin."""
