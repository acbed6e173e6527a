"""Evaluation of SOPs over tables of cases: does the procedure come to what people say it should?

A suite names an SOP, cases with what is expected of each, and how much of it must hold. Cases run in this process
through the runner's own code and the engine's own rules (`execution`), or as executions of an Airflow (`on_airflow`);
scores, results file and reports are the same for both.
"""
