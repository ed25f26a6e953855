"""What is trained: one folder a task, found by its name.

A folder of this package is a task: its module exports `TASK`, a class that
fulfils the contract of `tasks.base`. `config.model.kind` names the task of a
config; nothing else of the package does.
"""
