"""Tasks: one folder for each, found by its name.

A task's folder exports `TASK`, a class that implements the contract of
`tasks.base`. `config.model.kind` names the task of a config; tasks are listed
nowhere else.
"""
