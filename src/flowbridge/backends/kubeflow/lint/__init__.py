"""Every rule of a Kubeflow server that can be checked before it sees a pipeline. All compiles pass through here."""

from flowbridge.backends.kubeflow.lint.run import RULES, PipelineRuleError, Problem, check, problems

__all__ = ["RULES", "PipelineRuleError", "Problem", "check", "problems"]
