"""Ways to run one attempt of a task: in this process, or in a fresh one."""
